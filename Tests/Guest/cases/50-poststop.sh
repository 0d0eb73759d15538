# Poststop succeeds when there is nothing to do and as often as it is called; it ends its own container's TPM alone.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

stopped() { # ID BUNDLE-ID
    jq --null-input --arg id "$1" --arg bundle "$BUNDLES/$2" \
        '{ociVersion: "1.0.2", id: $id, status: "stopped", bundle: $bundle}'
}

poststop() { # WHAT STATE
    hook poststop "$2"
    expect_equal "poststop $1 (it said: $HOOK_ERROR)" 0 "$HOOK_STATUS"
    expect_equal "what poststop $1 said" "" "$HOOK_ERROR"
}

container_bundle known
clean=$(host_snapshot)
states=$(state_snapshot)
poststop "without creation" "$(stopped known known)"
expect_host "$clean"
expect_states "$states"

container_start known
running=$(host_snapshot)
poststop "of the same ID in another bundle" "$(stopped known another)"
poststop "of another ID in the same bundle" "$(stopped another known)"
expect_host "$running"
container_exec known tpm2_getrandom --hex 8

kill -KILL "$(container_pid known)"
for time in first second third; do
    poststop "for the $time time" "$(stopped known known)"
    expect_host "$clean"
done
states=$(state_snapshot)
[[ -s $STATES/known/state ]] || fail "poststop has removed the persistent state"
runtime delete known
expect_states "$states"
