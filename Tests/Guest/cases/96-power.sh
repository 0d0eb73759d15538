# An orderly restart of the host ends each vTPM after its container, with its state whole and no attempt counted; after a
# power failure the state is whole as well, and nothing of before is left.
# Guests: debian-13
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
ENGINE=podman

keep=/var/lib/container-vtpm-tests
expect_nothing_left() { # WHEN
    expect_equal "leases $1" '[]' "$(vtpmctl list --json | jq --compact-output .)"
    expect_equal "units of ours $1" '' "$(units_of_ours)"
    expect_equal "processes of ours $1" '' "$(pgrep --list-name '^vtpm-' || true)"
}

case $PHASE in
    begin)
        install_carrier
        engine_import
        ENGINE=docker engine_import
        rm -rf "$keep"
        mkdir "$keep"
        for ENGINE in podman docker; do
            engine_start "$ENGINE"
            engine_define_protected "$ENGINE"
            engine_endorsement_key "$ENGINE" >"$keep/key-$ENGINE"
            expect_equal "$ENGINE: the counter at first" 0x0 "$(engine_use_protected "$ENGINE")"
        done
        restart_host orderly after-shutdown
        ;;
    after-shutdown)
        expect_nothing_left "after a shutdown"
        for ENGINE in podman docker; do
            engine start "$ENGINE" >/dev/null
            expect_equal "$ENGINE: its key" "$(<"$keep/key-$ENGINE")" "$(engine_endorsement_key "$ENGINE")"
            expect_equal "$ENGINE: the counter after a shutdown" 0x0 "$(engine_use_protected "$ENGINE")"
        done
        # What a power failure may take are the writes of others: this file system has no journal.
        sync
        restart_host hard after-power-failure
        ;;
    after-power-failure)
        expect_nothing_left "after a power failure"
        for ENGINE in podman docker; do
            engine start "$ENGINE" >/dev/null
            expect_equal "$ENGINE: its key" "$(<"$keep/key-$ENGINE")" "$(engine_endorsement_key "$ENGINE")"
            expect_equal "$ENGINE: the counter after a power failure" 0x1 "$(engine_use_protected "$ENGINE")"
            engine rm --force --time 0 "$ENGINE" >/dev/null 2>&1 || engine rm --force "$ENGINE" >/dev/null
        done
        rm -rf "$keep"
        wait_until "all vTPMs to be gone" vtpms_are 0
        expect_nothing_left "at the end"
        ;;
esac
