# A StatefulSet's replica, imitated through CRI: it finds its TPM again when its pod was deleted and made anew, by the hook and
# by the wrapper. The same names in another namespace have another TPM, and from other engines none.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

install_carrier
cri_import
install_wrapper containerd '[state]
id = "pod"
scope = "containerd"'
container_bundle forged
container_bundle forged-wrapper 'del(.hooks)'
host=$(host_snapshot)

# Leaves the container's ID in `id` and its endorsement key in `key`.
start_replica() { # WAY NAMESPACE/POD
    WAY=$1 ENGINE=cri
    cri_pod "$2"
    engine_start "$2/tpm"
    key=$(engine_endorsement_key "$2/tpm")
}
start_replica hook default/db-0
first=$id first_key=$key
expect_equal "the state's ID" containerd/default/pod/db-0/tpm "$(lease_field "$id" stateID)"
cri remove default/db-0
wait_until "its TPM to end" vtpms_are 0
expect_equal "orphans" '' "$(vtpmctl state prune --orphans --unused-for 0s --dry-run)"

# The names alone are anybody's.
states=$(state_snapshot)
annotations=(io.kubernetes.cri.container-type=container io.kubernetes.cri.sandbox-namespace=default
    io.kubernetes.cri.sandbox-name=db-0 io.kubernetes.cri.container-name=tpm)
reason='is not where containerd keeps that of a pod'
WAY=hook
for ENGINE in podman docker; do
    engine_import
    options=("--runtime=$RUNTIME")
    [[ $ENGINE == docker ]] || options=()
    expect_error "$ENGINE with a pod's names" "$reason" \
        engine run --rm "${options[@]}" --device "$TPM_DEVICE" "${annotations[@]/#/--annotation=}" "$IMAGE" true
done
container_edit forged '.annotations = ($ARGS.positional | map(split("=") | {key: .[0], value: .[1]}) | from_entries)
    | .root.path = $rootfs' --arg rootfs "$BUNDLES/forged/rootfs" --args -- "${annotations[@]}"
expect_error "ctr with a pod's names" "$reason" ctr run --rm --config "$BUNDLES/forged/config.json" forged
expect_error "a person with a pod's names" "$reason" \
    "$RUNTIME" --root "$WORK/$RUNTIME" run --bundle "$BUNDLES/forged" forged
container_edit forged-wrapper '.annotations = $forged[0].annotations | .root = $forged[0].root' \
    --slurpfile forged "$BUNDLES/forged/config.json"
expect_error "ctr with the wrapper and a pod's names" "$reason" \
    ctr run --rm --runc-binary /usr/libexec/container-vtpm/vtpm-runtime --config "$BUNDLES/forged-wrapper/config.json" forged-wrapper
expect_error "a person with the wrapper and a pod's names" "$reason" \
    /usr/libexec/container-vtpm/vtpm-runtime --root "$WORK/$RUNTIME" run --bundle "$BUNDLES/forged-wrapper" forged-wrapper
expect_states "$states"

start_replica hook default/db-0
expect_different "the containers' IDs" "$first" "$id"
expect_equal "the endorsement key of the replica made anew" "$first_key" "$key"
replica=$id
start_replica wrapper other/db-0
expect_equal "the state's ID" containerd/other/pod/db-0/tpm "$(lease_field "$id" stateID)"
expect_different "the endorsement keys of one name in two namespaces" "$first_key" "$key"
first=$id first_key=$key
cri remove other/db-0
start_replica wrapper other/db-0
expect_different "the containers' IDs with the wrapper" "$first" "$id"
expect_equal "the endorsement key of the replica made anew with the wrapper" "$first_key" "$key"
cri remove other/db-0

# A namespace that is gone.
expect_match "what would go" '^containerd/other/pod/db-0/tpm: last used [^\n]*$' \
    "$(vtpmctl state purge --scope containerd/other --dry-run)"
expect_error "purge of an empty part" 'a part of it is empty' vtpmctl state purge --scope containerd/ --yes
expect_error "purge of both" "container \"$replica\" uses it" \
    vtpmctl state purge --scope containerd --yes
expect_equal "the states that are left" containerd/default/pod/db-0/tpm \
    "$(vtpmctl state list --json | jq --raw-output '.[].stateID')"

cri remove default/db-0
vtpmctl state purge --scope containerd/default/pod/db-0 --yes >/dev/null
expect_equal "the states that are left" 0 "$(vtpmctl state list --json | jq length)"
expect_error "purge of nothing" 'there is none' vtpmctl state purge --scope containerd --yes
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
