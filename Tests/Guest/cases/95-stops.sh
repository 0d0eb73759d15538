# Whatever stops or kills the engine leaves its containers their TPMs until they are dead, and nothing after it: each TPM is
# shut down in order, and lease, unit and processes are gone. Each stop meets a container with a hook and one with the wrapper,
# of which one is runc's and one crun's.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

install_carrier
ENGINE=podman engine_import
ENGINE=docker engine_import
cri_import
for name in podman docker containerd; do install_wrapper "$name"; done
host=$(host_snapshot)

# The name of a state is the test's, so that another container can show how the last one's TPM has ended.
begin_stop() { # STOP ENGINE...
    stop=$1
    local runtimes=(runc crun) engine name
    # The wrapper's runtime is the other one in the next stop.
    ((stops++ % 2)) || runtimes=(crun runc)
    configure <<<"[state]
id = \"annotation\"
[runtime]
path = \"$(command -v "${runtimes[1]}")\""
    members=()
    for engine in "${@:2}"; do
        name=$stop-$engine
        member "$name-hook" "$engine" hook "${runtimes[0]}"
        member "$name-wrapper" "$engine" wrapper "${runtimes[1]}"
    done
    each start
}
stops=0

start() {
    local option=--annotation
    if [[ $ENGINE == cri ]]; then
        cri pod "$name" "runtime=$(engine_runtime)" >"$(record pod)"
        option=''
    fi
    engine_start "$name" ${option:+"$option" "org.container-vtpm.state-id=$name"}
    engine_pid "$name" >"$(record pid)"
    lease_field "$id" unit >"$(record unit)"
    expect_match "$name: the unit of its vTPM" '^vtpm-.*\.scope$' "$(<"$(record unit)")"
}

is_dead() { process_is_gone "$(<"$(record pid)")"; }
is_inactive() { ! systemctl --quiet is-active "$1"; }
expect_use() { # WHEN
    ! is_dead || fail "$name has ended $1"
    expect_tpm "$1"
}
kill_init() { kill -KILL "$(<"$(record pid)")"; }
stop_by_engine() { engine stop --time 0 "$name" >/dev/null; }
# podman fails once without the exit code that a killed conmon would have left, and containerd until it has cleaned up after a
# killed shim.
remove() { wait_until "$name to be removed" engine_remove "$name"; }

# No lease, no unit, no process is left, and the log says that the TPM was shut down in order.
expect_end() {
    wait_until "$name: the container to be dead" is_dead
    wait_until "$name: the unit to be gone" is_inactive "$(<"$(record unit)")"
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
    local unit tree process
    unit=$(<"$(record unit)")
    expect_match "the unit's status" "vTPM of container $id" "$(systemctl status "$unit")"
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
begin_stop conmon-scope-is-stopped podman
each expect_seen
each stop_conmon
each expect_use "after conmon's scope was stopped"
each kill_init
end_stop

kill_conmon() { pkill -KILL --full "conmon .*$id"; }
begin_stop conmon-is-killed podman
each kill_conmon
each expect_use "after conmon was killed"
each kill_init
end_stop

stop_scope() { systemctl stop "$(scope_of "$id")"; }
begin_stop scope-is-stopped podman
each stop_scope
end_stop

terminate() {
    kill -TERM "$(lease_field "$id" supervisorPID)" "$(lease_field "$id" workerPID)"
    expect_error "to stop the unit by hand" 'Operation refused' systemctl stop "$(<"$(record unit)")"
    expect_use "after its processes got a SIGTERM"
}
begin_stop processes-are-terminated podman
each terminate
each stop_by_engine
end_stop

# --- docker, and CRI ---
# One of CRI's is its pod's.
kill_shim() {
    local owner=$id
    [[ $ENGINE != cri ]] || owner=$(<"$(record pod)")
    pkill -KILL --full "containerd-shim.* -id $owner"
    wait_until "$name: the container to be dead" is_dead
}
# containerd ends what a killed shim has left, and gives up after some seconds, which several at once can take in emulation.
begin_stop shim-is-killed docker cri
each_in_turn kill_shim
end_stop

stop() {
    if [[ $ENGINE == cri ]]; then cri stop "$name" "$name"; else stop_by_engine; fi
}
begin_stop containerd-is-killed docker cri
systemctl kill --signal KILL --kill-whom main containerd
wait_until "docker to reach containerd again" docker exec "$stop-docker-hook" true
each expect_use "after containerd was killed"
each stop
end_stop

# The next daemon ends what this one has left.
expect_alive() { ! is_dead || fail "$name has ended with dockerd"; }
begin_stop dockerd-is-killed docker
systemctl kill --signal KILL --kill-whom main docker
each expect_alive
wait_until "docker" docker info
end_stop

begin_stop docker-is-stopped docker
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
