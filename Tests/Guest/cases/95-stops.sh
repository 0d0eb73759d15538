# Whatever stops or kills the engine leaves its containers their TPMs until they are dead, and nothing after it: each TPM is
# shut down in order, and lease, unit and processes are gone. Each stop meets a container of either runtime.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

install_carrier
ENGINE=podman engine_import
ENGINE=docker engine_import
host=$(host_snapshot)

# The name of a state is the test's, so that another container can show how the last one's TPM has ended.
configure <<'END'
[state]
id = "annotation"
END

# Sets what is known of one of the containers of this stop.
declare -A ids pids units
use() { # RUNTIME
    RUNTIME=$1 name=$stop-$1 id=${ids[$1]:-} pid=${pids[$1]:-} unit=${units[$1]:-}
}
each() { # COMMAND...
    for runtime in runc crun; do
        use "$runtime"
        "$@"
    done
}

start() {
    engine_start "$name" --annotation "org.container-vtpm.state-id=$name"
    ids[$RUNTIME]=$id
    pids[$RUNTIME]=$(engine_pid "$name")
    units[$RUNTIME]=$(lease_field "$id" unit)
    expect_match "$name: the unit of its vTPM" '^vtpm-.*\.scope$' "${units[$RUNTIME]}"
}
begin_stop() { # ENGINE STOP
    ENGINE=$1 stop=$2
    each start
}

is_dead() { process_is_gone "$pid"; }
is_inactive() { ! systemctl --quiet is-active "$1"; }
expect_use() { # WHEN
    ! is_dead || fail "$name has ended $1"
    expect_tpm "$1" "$name"
}
kill_init() { kill -KILL "$pid"; }
stop_by_engine() { engine stop --time 0 "$name" >/dev/null; }
remove() { engine rm --force --time 0 "$name" >/dev/null 2>&1 || engine rm --force "$name" >/dev/null; }

# No lease, no unit, no process is left, and the log says that the TPM was shut down in order.
expect_end() {
    wait_until "$name: the container to be dead" is_dead
    wait_until "$name: the unit to be gone" is_inactive "$unit"
    expect_match "$name: the log" 'stopped, generation [0-9]+ .*event=stopped ' \
        "$(journal_of_ours | grep "container=\"$id\"" | grep event=stopped)"
    remove
}
end_stop() {
    wait_until "$stop: the vTPMs to be gone" vtpms_are 0
    each expect_end
    expect_equal "$stop: processes of ours" '' "$(pgrep --list-name '^vtpm-' || true)"
}

define_and_use() {
    engine_define_protected "$name"
    expect_equal "$name: the counter at first" 0x0 "$(engine_use_protected "$name")"
}
# A new container with the state finds no attempt counted.
expect_no_attempt() {
    start
    expect_equal "$name: the counter of failed authorizations" 0x0 "$(engine_use_protected "$name")"
    remove
}

# --- podman ---
# A person sees which unit and which processes are whose.
expect_seen() {
    expect_match "the unit's status" "vTPM of container $id" "$(systemctl status "$unit")"
    local tree process
    tree=$(systemd-cgls --unit vtpm.slice)
    for process in supervisor worker; do
        expect_match "the slice's tree" "$unit.*$(lease_field "$id" ${process}PID) vtpm-$process" "${tree//$'\n'/ }"
    done
    expect_match "the unit's journal" 'is tpm[0-9]+, .*event=started' \
        "$(journalctl --quiet --output=cat --unit "$unit")"
    expect_match "its slice" '^/vtpm\.slice/' "$(systemctl show --property=ControlGroup --value "$unit")"
}
# conmon ignores the SIGTERM, and systemd kills it after 90 seconds.
is_being_stopped() { [[ $(systemctl show --property=SubState --value "libpod-conmon-$id.scope") == stop-sigterm ]]; }
stop_conmon() {
    systemctl stop --no-block "libpod-conmon-$id.scope"
    wait_until "the stop to begin" is_being_stopped
    expect_use "while conmon's scope is stopped"
    systemctl kill --signal KILL "libpod-conmon-$id.scope"
    wait_until "the scope to be gone" is_inactive "libpod-conmon-$id.scope"
}
begin_stop podman conmon-scope-is-stopped
each expect_seen
each stop_conmon
each expect_use "after conmon's scope was stopped"
each kill_init
end_stop

kill_conmon() { pkill -KILL --full "conmon .*$id"; }
begin_stop podman conmon-is-killed
each kill_conmon
each expect_use "after conmon was killed"
each kill_init
end_stop

stop_scope() { systemctl stop "$(scope_of "$id")"; }
begin_stop podman scope-is-stopped
each stop_scope
end_stop

terminate() {
    kill -TERM "$(lease_field "$id" supervisorPID)" "$(lease_field "$id" workerPID)"
    expect_error "to stop the unit by hand" 'Operation refused' systemctl stop "$unit"
    expect_use "after its processes got a SIGTERM"
}
begin_stop podman processes-are-terminated
each terminate
each stop_by_engine
end_stop

# --- docker ---
kill_shim() { pkill -KILL --full "containerd-shim.* -id $id"; }
begin_stop docker shim-is-killed
each kill_shim
end_stop

begin_stop docker containerd-is-killed
systemctl kill --signal KILL --kill-whom main containerd
wait_until "docker to reach containerd again" docker exec "$name" true
each expect_use "after containerd was killed"
each stop_by_engine
end_stop

# The next daemon ends what this one has left.
expect_alive() { ! is_dead || fail "$name has ended with dockerd"; }
begin_stop docker dockerd-is-killed
systemctl kill --signal KILL --kill-whom main docker
each expect_alive
wait_until "docker" docker info
end_stop

begin_stop docker docker-is-stopped
each define_and_use
systemctl stop docker.socket docker.service
each wait_until "the container to be dead" is_dead
systemctl start docker.service
wait_until "docker" docker info
end_stop
each expect_no_attempt
wait_until "the last vTPMs to be gone" vtpms_are 0
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
