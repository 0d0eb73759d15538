# Whatever stops or kills the engine leaves the container its TPM until it is dead, and nothing after it: the TPM is shut
# down in order, and lease, unit and processes are gone.
# Guests: debian-13
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
start_with_state() { # NAME
    engine_start "$1" --annotation "org.container-vtpm.state-id=$1"
}

begin_stop() { # ENGINE NAME
    ENGINE=$1
    start_with_state "$2"
    engine_define_protected "$2"
    expect_equal "$2: the counter at first" 0x0 "$(engine_use_protected "$2")"
    pid=$(engine_pid "$2")
    unit=$(lease_field "$id" unit)
    expect_match "$2: the unit of its vTPM" '^vtpm-.*\.scope$' "$unit"
}

# No lease, no unit, no process is left, and the log says that the TPM was shut down in order.
end_stop() { # NAME
    wait_until "$1: the container to be dead" process_is_gone "$pid"
    wait_until "$1: the vTPM to be gone" vtpms_are 0
    wait_until "$1: the unit to be gone" bash -c '! systemctl --quiet is-active "$1"' - "$unit"
    expect_equal "$1: processes of ours" '' "$(pgrep --list-name '^vtpm-' || true)"
    expect_match "$1: the log" 'stopped, generation [0-9]+ .*event=stopped ' \
        "$(journal_of_ours | grep "container=\"$id\"" | grep event=stopped)"
    engine rm --force --time 0 "$1" >/dev/null 2>&1 || engine rm --force "$1" >/dev/null
}

# A new container with the state finds no attempt counted.
expect_no_attempt() { # NAME
    start_with_state "$1"
    expect_equal "$1: the counter of failed authorizations" 0x0 "$(engine_use_protected "$1")"
    engine rm --force --time 0 "$1" >/dev/null 2>&1 || engine rm --force "$1" >/dev/null
    wait_until "$1: the last vTPM to be gone" vtpms_are 0
}

# --- podman ---
begin_stop podman conmon-scope-is-stopped
# A person sees which unit and which processes are whose.
expect_match "the unit's status" "vTPM of container $id" "$(systemctl status "$unit")"
tree=$(systemd-cgls --unit vtpm.slice)
for process in supervisor worker; do
    expect_match "the slice's tree" "$unit.*$(lease_field "$id" ${process}PID) vtpm-$process" "${tree//$'\n'/ }"
done
expect_match "the unit's journal" 'is tpm[0-9]+, .*event=started' "$(journalctl --quiet --output=cat --unit "$unit")"
expect_match "its slice" '^/vtpm\.slice/' "$(systemctl show --property=ControlGroup --value "$unit")"
# conmon ignores the SIGTERM, and systemd kills it after 90 seconds.
systemctl stop --no-block "libpod-conmon-$id.scope"
is_being_stopped() { [[ $(systemctl show --property=SubState --value "libpod-conmon-$id.scope") == stop-sigterm ]]; }
wait_until "the stop to begin" is_being_stopped
expect_tpm "while conmon's scope is stopped" conmon-scope-is-stopped
systemctl kill --signal KILL "libpod-conmon-$id.scope"
wait_until "the scope to be gone" bash -c '! systemctl --quiet is-active "$1"' - "libpod-conmon-$id.scope"
expect_tpm "after conmon's scope was stopped" conmon-scope-is-stopped
kill -KILL "$pid"
end_stop conmon-scope-is-stopped

begin_stop podman conmon-is-killed
pkill -KILL --full "conmon .*$id"
expect_tpm "after conmon was killed" conmon-is-killed
kill -KILL "$pid"
end_stop conmon-is-killed

begin_stop podman scope-is-stopped
systemctl stop "$(scope_of "$id")"
end_stop scope-is-stopped
expect_no_attempt scope-is-stopped

begin_stop podman processes-are-terminated
kill -TERM "$(lease_field "$id" supervisorPID)" "$(lease_field "$id" workerPID)"
expect_error "to stop the unit by hand" 'Operation refused' systemctl stop "$unit"
expect_tpm "after its processes got a SIGTERM" processes-are-terminated
podman stop --time 0 processes-are-terminated >/dev/null
end_stop processes-are-terminated

# --- docker ---
begin_stop docker shim-is-killed
pkill -KILL --full "containerd-shim.* -id $id"
end_stop shim-is-killed

begin_stop docker containerd-is-killed
systemctl kill --signal KILL --kill-whom main containerd
wait_until "docker to reach containerd again" docker exec containerd-is-killed true
expect_tpm "after containerd was killed" containerd-is-killed
docker stop --time 0 containerd-is-killed >/dev/null
end_stop containerd-is-killed

# The next daemon ends what this one has left.
begin_stop docker dockerd-is-killed
systemctl kill --signal KILL --kill-whom main docker
! process_is_gone "$pid" || fail "the container ended with dockerd"
wait_until "docker" docker info
end_stop dockerd-is-killed

begin_stop docker docker-is-stopped
systemctl stop docker.socket docker.service
wait_until "the container to be dead" process_is_gone "$pid"
systemctl start docker.service
wait_until "docker" docker info
end_stop docker-is-stopped
expect_no_attempt docker-is-stopped
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
