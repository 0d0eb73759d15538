# While a container uses a TPM's state, no second one can have it: the error names the first, which is not disturbed.
. "$GUEST/lib.sh"

container_start mine
key=$(endorsement_key mine)

# The same ID in another bundle, as a second runtime root on the host would allow.
container_bundle second
container_wrap_hooks second
before=$(host_snapshot)
mkdir "$WORK/second-root"
expect_failure "creation" "$RUNTIME" --root "$WORK/second-root" create --bundle "$BUNDLES/second" mine \
    </dev/null >"$BUNDLES/second/output" 2>&1
expect_refusal "a second user" 'container "mine" uses it \(init [0-9]+' \
    "$(<"$BUNDLES/second/hook.createRuntime.status")" "$(<"$BUNDLES/second/hook.createRuntime.error")"
# Runc calls poststop for it, crun does not; by hand the same is sure for both.
hook poststop "$(jq --null-input --arg bundle "$BUNDLES/second" \
    '{ociVersion: "1.0.2", id: "mine", status: "stopped", bundle: $bundle}')"
expect_equal "poststop's exit status" 0 "$HOOK_STATUS"
expect_host "$before"

expect_equal "the first container's endorsement key" "$key" "$(endorsement_key mine)"
container_stop mine
