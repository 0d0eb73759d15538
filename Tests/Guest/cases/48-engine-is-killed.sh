# On a host without systemd, whoever kills the engine's cgroup with all that is in it leaves a living container its TPM:
# supervisor and worker are in a cgroup of their own, which is gone when they are.
. "$GUEST/lib.sh"

readonly groups=/sys/fs/cgroup engine=/sys/fs/cgroup/container-vtpm-tests-engine

cgroup_of() { # PID
    sed -n 's/^0:://p' "/proc/$1/cgroup"
}

# Creates and starts a container as an engine does that has a cgroup of its own.
start_from_engine() { # ID
    (
        echo 0 >"$engine/cgroup.procs"
        container_start "$1"
        exec sleep infinity
    ) &
    wait_until "the container $1 to run" container_exec "$1" true
}

mkdir "$engine"
container_bundle orphan
container_bundle next
before=$(host_snapshot)
start_from_engine orphan
key=$(endorsement_key orphan)
group=$(lease_field orphan cgroup)
expect_match "the cgroup" "^$groups/container-vtpm/[0-9a-f]{32}\$" "$group"
for process in supervisorPID workerPID; do
    expect_equal "the cgroup of $process" "${group#"$groups"}" "$(cgroup_of "$(lease_field orphan "$process")")"
done
expect_equal "the limit of processes" 8 "$(<"$group/pids.max")"
expect_equal "the limit of memory" $((320 << 20)) "$(<"$group/memory.max")"

echo 1 >"$engine/cgroup.kill"
wait_until "the engine to be dead" grep --quiet 'populated 0' "$engine/cgroup.events"
container_exec orphan tpm2_getrandom --hex 8
# Nobody calls poststop.
container_kill orphan
expect_host "$before"
[[ ! -d $group ]] || fail "the cgroup is left"
runtime delete orphan

# The same cgroup for the next one, at once.
start_from_engine orphan
expect_equal "the endorsement key after a restart" "$key" "$(endorsement_key orphan)"
expect_equal "the cgroup after a restart" "$group" "$(lease_field orphan cgroup)"

# What a killed supervisor leaves goes with poststop.
supervisor=$(lease_field orphan supervisorPID)
kill -KILL "$supervisor"
wait_until "the supervisor to end" process_is_gone "$supervisor"
[[ -d $group ]] || fail "the cgroup of a living worker is gone"
container_stop orphan
expect_host "$before"

# And with the next creation, where nobody has called poststop.
start_from_engine orphan
kill -KILL "$(lease_field orphan supervisorPID)" "$(lease_field orphan workerPID)"
container_kill orphan
wait_until "the processes to be gone" grep --quiet 'populated 0' "$group/cgroup.events"
container_start next
[[ ! -d $group ]] || fail "the cgroup is left after the next creation"
container_stop next
runtime delete --force orphan
echo 1 >"$engine/cgroup.kill"
wait
wait_until "the engine's cgroup to be removed" rmdir "$engine"
expect_host "$before"

# A supervisor that is told to end keeps the TPM of a living container.
container_start orphan
kill -TERM "$(lease_field orphan supervisorPID)"
wait_until "the log to tell of it" grep 'vtpm-supervisor.*goes on after SIGTERM.*event=kept container="orphan"' "$SYSLOG"
container_exec orphan tpm2_getrandom --hex 8
container_stop orphan
expect_host "$before"
