# Whatever stops or kills the engine leaves the container its TPM until it is dead, and nothing after it.
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

# The state is whole, and no attempt has been counted. The container is a new one: podman does not always start one again
# whose conmon was killed.
expect_orderly_end() { # NAME
    engine rm --force --time 0 "$1" >/dev/null 2>&1 || engine rm --force "$1" >/dev/null
    start_with_state "$1"
    expect_equal "$1: the counter of failed authorizations" 0x0 "$(engine_use_protected "$1")"
    engine rm --force --time 0 "$1" >/dev/null 2>&1 || engine rm --force "$1" >/dev/null
    wait_until "$1: the last vTPM to be gone" vtpms_are 0
}

begin_stop() { # ENGINE NAME
    ENGINE=$1
    start_with_state "$2"
    engine_define_protected "$2"
    expect_equal "$2: the counter at first" 0x0 "$(engine_use_protected "$2")"
    pid=$(engine_pid "$2")
    unit=$(lease_field "$id" unit)
    expect_match "$2: the unit of its vTPM" '^vtpm-.*\.scope$' "$unit"
    expect_match "$2: its slice" '/vtpm\.slice/' "$(systemctl show --property=ControlGroup --value "$unit")"
}

expect_clean() { # NAME
    wait_until "$1: the vTPM to be gone" vtpms_are 0
    wait_until "$1: the unit to be gone" bash -c '! systemctl --quiet is-active "$1"' - "$unit"
    expect_match "$1: the log" "stopped" "$(journal_of_ours | grep "container=\"$id\"" | tail -n 3)"
}

# --- podman ---
begin_stop podman conmon-scope-is-stopped
systemctl stop "libpod-conmon-$id.scope"
! kill -0 "$pid" 2>/dev/null || expect_tpm "after conmon's scope was stopped" conmon-scope-is-stopped
kill -KILL "$pid" 2>/dev/null || true
expect_clean conmon-scope-is-stopped
expect_orderly_end conmon-scope-is-stopped

begin_stop podman conmon-is-killed
pkill -KILL --full "conmon .*$id"
expect_tpm "after conmon was killed" conmon-is-killed
podman stop --time 0 conmon-is-killed >/dev/null 2>&1 || kill -KILL "$pid"
expect_clean conmon-is-killed
expect_orderly_end conmon-is-killed

begin_stop podman scope-is-stopped
systemctl stop "$(scope_of "$id")"
expect_clean scope-is-stopped
expect_orderly_end scope-is-stopped

begin_stop podman processes-are-terminated
kill -TERM "$(lease_field "$id" supervisorPID)"
expect_error "to stop the unit by hand" 'refuse|Operation refused' systemctl stop "$unit"
expect_tpm "after its supervisor got a SIGTERM" processes-are-terminated
podman stop --time 0 processes-are-terminated >/dev/null
expect_clean processes-are-terminated
expect_orderly_end processes-are-terminated

# --- docker ---
begin_stop docker shim-is-killed
pkill -KILL --full "containerd-shim.* -id $id"
wait_until "the container to be dead" bash -c '! kill -0 "$1" 2>/dev/null' - "$pid"
expect_clean shim-is-killed
expect_orderly_end shim-is-killed

begin_stop docker containerd-is-killed
systemctl kill --signal KILL --kill-whom main containerd
wait_until "containerd" systemctl --quiet is-active containerd
wait_until "docker" docker info
expect_tpm "after containerd was killed" containerd-is-killed
docker stop --time 0 containerd-is-killed >/dev/null
expect_clean containerd-is-killed
expect_orderly_end containerd-is-killed

begin_stop docker dockerd-is-killed
systemctl kill --signal KILL --kill-whom main docker
kill -0 "$pid"
wait_until "docker" docker info
wait_until "docker to end what it does not know" vtpms_are 0
expect_clean dockerd-is-killed
expect_orderly_end dockerd-is-killed

begin_stop docker docker-is-stopped
systemctl stop docker.socket docker.service
expect_clean docker-is-stopped
systemctl start docker.service
wait_until "docker" docker info
expect_orderly_end docker-is-stopped
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
