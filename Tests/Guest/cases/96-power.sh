# An orderly restart of the host leaves each state whole, and counts no attempt, even for a container that nobody stops; after
# a power failure the state is whole as well, and nothing of before is left. Containers that their engine starts again by itself
# have their TPM again, but for docker's with a CDI device before docker 28.2.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

keep=/var/lib/container-vtpm-tests
expect_nothing_left() { # WHEN
    expect_equal "leases $1" '[]' "$(vtpmctl list --json | jq --compact-output .)"
    expect_equal "units of ours $1" '' "$(units_of_ours)"
    expect_equal "processes of ours $1" '' "$(pgrep --list-name '^vtpm-' || true)"
}

# A container of either engine, and of either runtime.
each() { # COMMAND...
    for name in podman-crun docker-runc; do
        ENGINE=${name%-*} RUNTIME=${name#*-}
        "$@"
    done
}

begin() {
    engine_import
    engine_start "$name"
    engine_define_protected "$name"
    engine_endorsement_key "$name" >"$keep/$name"
    expect_equal "$name: the counter at first" 0x0 "$(engine_use_protected "$name")"
}

# The container's TPM has counted so many failed authorizations, and has the index that was defined at first.
start_again() { # WHEN COUNTER
    engine start "$name" >/dev/null
    expect_equal "$name: the counter $1" "$2" "$(engine_use_protected "$name")"
}

expect_key() {
    expect_equal "$name: its key at the end" "$(<"$keep/$name")" "$(engine_endorsement_key "$name")"
}

remove() {
    engine rm --force --time 0 "$name" >/dev/null 2>&1 || engine rm --force "$name" >/dev/null
}

# Containers that the engine starts again by itself: with the hook and with the wrapper.
each_restarting() { # COMMAND...
    for name in again-podman-hook again-podman-wrapper again-docker-hook again-docker-wrapper; do
        ENGINE=${name#again-} ENGINE=${ENGINE%-*} WAY=${name##*-} RUNTIME=runc
        "$@"
    done
    WAY=hook
}

begin_restarting() {
    engine_start "$name" --restart always
    engine_endorsement_key "$name" >"$keep/$name"
}

is_restarted() { # NAME
    [[ $(engine inspect --format '{{.State.Running}}' "$1") == true ]]
}

expect_restarted() {
    local version
    version=$(docker version --format '{{.Server.Version}}')
    if [[ $name == again-docker-hook && $(printf '%s\n' "$version" 28.2 | sort --version-sort | head -n 1) != 28.2 ]]; then
        expect_failure "docker $version has started a container with a CDI device again" is_restarted "$name"
    else
        wait_until "$name to run again" is_restarted "$name"
        expect_key
    fi
    remove
}

live_restore() { # true | false
    jq --argjson value "$1" '."live-restore" = $value' </etc/docker/daemon.json >"$keep/daemon.json"
    cat "$keep/daemon.json" >/etc/docker/daemon.json
    systemctl reload docker
}

case $PHASE in
    begin)
        install_carrier
        rm -rf "$keep"
        mkdir "$keep"
        each begin
        vtpmctl engine install docker >/dev/null
        vtpmctl engine install podman --way runtime >/dev/null
        systemctl reload docker
        wait_until "docker to know the runtime" sh -c 'docker info --format "{{.Runtimes}}" | grep vtpm'
        systemctl --quiet enable podman-restart
        each_restarting begin_restarting
        restart_host orderly after-shutdown
        ;;
    after-shutdown)
        wait_until "podman's containers to be started again" systemctl --quiet is-active podman-restart
        each_restarting expect_restarted
        systemctl --quiet disable podman-restart
        vtpmctl engine remove docker >/dev/null
        vtpmctl engine remove podman >/dev/null
        systemctl reload docker
        wait_until "all vTPMs to be gone" vtpms_are 0
        expect_nothing_left "after a shutdown"
        each start_again "after a shutdown" 0x0
        # With this setting nobody stops docker's container before systemd kills what is left, a few seconds after a SIGTERM.
        live_restore true
        mkdir -p /etc/systemd/system.conf.d
        printf '[Manager]\nDefaultTimeoutStopSec=3s\n' >/etc/systemd/system.conf.d/tests.conf
        systemctl daemon-reload
        restart_host orderly after-kill
        ;;
    after-kill)
        expect_nothing_left "after a shutdown that has killed a container"
        rm /etc/systemd/system.conf.d/tests.conf
        live_restore false
        each start_again "after a kill" 0x0
        # What a power failure may take are the writes of others: this file system has no journal.
        sync
        restart_host hard after-power-failure
        ;;
    after-power-failure)
        expect_nothing_left "after a power failure"
        each start_again "after a power failure" 0x1
        each expect_key
        each remove
        rm -rf "$keep"
        wait_until "all vTPMs to be gone" vtpms_are 0
        expect_nothing_left "at the end"
        ;;
esac
