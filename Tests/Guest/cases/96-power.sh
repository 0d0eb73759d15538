# An orderly restart of the host leaves each state whole, and counts no attempt, even for a container that nobody stops; after
# a power failure the state is whole as well, and nothing of before is left. Containers that their engine starts again by itself
# have their TPM again, but for docker's with a CDI device before docker 28.2.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

RECORDS=/var/lib/container-vtpm-tests
expect_nothing_left() { # WHEN
    expect_equal "leases $1" '[]' "$(vtpmctl list --json | jq --compact-output .)"
    expect_equal "units of ours $1" '' "$(units_of_ours)"
    expect_equal "processes of ours $1" '' "$(pgrep --list-name '^vtpm-' || true)"
}

# A container of either engine and of either way, and one of crun's.
engines_members() {
    members=()
    member podman-hook podman hook crun
    member podman-wrapper podman wrapper runc
    member docker-hook docker hook runc
    member docker-wrapper docker wrapper runc
}
# No engine starts CRI's containers again, but a kubelet makes other ones, with the same state. The handler of the wrapper passes the
# annotation on that names it; containerd's own does not.
cri_members() {
    member cri-wrapper cri wrapper runc
}
cri_begin() {
    cri_pod "$name"
    engine_start "$name" "annotation=org.container-vtpm.state-id=$name"
}

begin_use() {
    engine_define_protected "$name"
    remember_key
    expect_use "at first" 0x0
}

# The container's TPM has counted so many failed authorizations, and has the index that was defined at first.
expect_use() { # WHEN COUNTER
    expect_equal "$name: the counter $1" "$2" "$(engine_use_protected "$name")"
}

start_again() {
    if [[ $ENGINE == cri ]]; then
        cri remove "$name"
        cri_begin
    else
        engine start "$name" >/dev/null
    fi
}

remove() { engine_remove "$name"; }

engines_members
case $PHASE in
    begin)
        rm -rf "$RECORDS"
        mkdir "$RECORDS"
        install_carrier
        install_wrapper podman
        install_wrapper docker '[state]
id = "annotation"'
        for ENGINE in podman docker; do engine_import; done
        systemctl --quiet enable podman-restart
        start() { engine_start "$name" --restart always; }
        each start
        each begin_use
        restart_host orderly after-shutdown
        ;;
    after-shutdown)
        wait_until "podman's containers to be started again" systemctl --quiet is-active podman-restart
        each expect_started_again "after a shutdown"
        each expect_use "after a shutdown" 0x0
        # From here on a person starts them. With this setting nobody stops docker's before systemd kills what is left, a few
        # seconds after a SIGTERM.
        systemctl --quiet disable podman-restart
        docker update --restart no docker-hook docker-wrapper >/dev/null
        docker_live_restore true
        mkdir -p /etc/systemd/system.conf.d
        printf '[Manager]\nDefaultTimeoutStopSec=3s\n' >/etc/systemd/system.conf.d/tests.conf
        systemctl daemon-reload
        restart_host orderly after-kill
        ;;
    after-kill)
        expect_nothing_left "after a shutdown that has killed a container"
        rm /etc/systemd/system.conf.d/tests.conf
        docker_live_restore false
        each start_again
        each expect_use "after a kill" 0x0
        cri_import
        vtpmctl engine install containerd >/dev/null
        systemctl restart containerd
        wait_until "containerd" ctr version
        members=()
        cri_members
        each cri_begin
        each begin_use
        # What a power failure may take are the writes of others: this file system has no journal.
        sync
        restart_host hard after-power-failure
        ;;
    after-power-failure)
        expect_nothing_left "after a power failure"
        cri_import
        cri_members
        each start_again
        each expect_use "after a power failure" 0x1
        each expect_key "at the end"
        each remove
        rm -rf "$RECORDS"
        wait_until "all vTPMs to be gone" vtpms_are 0
        expect_nothing_left "at the end"
        ;;
esac
