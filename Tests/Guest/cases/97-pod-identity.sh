# A StatefulSet's replica, imitated through CRI: it finds its TPM again when its pod was deleted and made anew. The same
# names in another namespace have another TPM, and from other engines none.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

install_carrier
configure <<'END'
[state]
id = "pod"
scope = "containerd"
END
cri_import
container_bundle forged
host=$(host_snapshot)

# Leaves the container's ID in `id` and its endorsement key in `key`.
start_replica() { # NAMESPACE/POD
    pods+=("$1")
    "$CRI" pod "$1" "runtime=$RUNTIME" >/dev/null
    id=$("$CRI" container "$1" tpm "device=$TPM_DEVICE" sleep 100000)
    key=$("$CRI" exec "$1" tpm sh -euc "export TPM2TOOLS_TCTI=device:/dev/tpmrm0; $print_endorsement_key")
}
start_replica default/db-0
first=$id first_key=$key
expect_equal "the state's ID" containerd/default/pod/db-0/tpm "$(lease_field "$id" stateID)"
"$CRI" remove default/db-0
wait_until "its TPM to end" vtpms_are 0
expect_equal "orphans" '' "$(vtpmctl state prune --orphans --unused-for 0s --dry-run)"

# The names alone are anybody's.
states=$(state_snapshot)
annotations=(io.kubernetes.cri.container-type=container io.kubernetes.cri.sandbox-namespace=default
    io.kubernetes.cri.sandbox-name=db-0 io.kubernetes.cri.container-name=tpm)
reason='is not where containerd keeps that of a pod'
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
expect_states "$states"

start_replica default/db-0
expect_different "the containers' IDs" "$first" "$id"
expect_equal "the endorsement key of the replica made anew" "$first_key" "$key"
start_replica other/db-0
expect_different "the endorsement keys of one name in two namespaces" "$first_key" "$key"
"$CRI" remove other/db-0

# A namespace that is gone.
expect_match "what would go" '^containerd/other/pod/db-0/tpm: last used [^\n]*$' \
    "$(vtpmctl state purge --scope containerd/other --dry-run)"
expect_error "purge of an empty part" 'a part of it is empty' vtpmctl state purge --scope containerd/ --yes
expect_error "purge of both" "container \"$(lease_field "$("$CRI" id default/db-0 tpm)" containerID)\" uses it" \
    vtpmctl state purge --scope containerd --yes
expect_equal "the states that are left" containerd/default/pod/db-0/tpm \
    "$(vtpmctl state list --json | jq --raw-output '.[].stateID')"

"$CRI" remove default/db-0
pods=()
vtpmctl state purge --scope containerd/default/pod/db-0 --yes >/dev/null
expect_equal "the states that are left" 0 "$(vtpmctl state list --json | jq length)"
expect_error "purge of nothing" 'there is none' vtpmctl state purge --scope containerd --yes
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
