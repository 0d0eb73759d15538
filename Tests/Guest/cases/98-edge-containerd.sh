# An edge orchestrator's application, with containerd and nothing above it: other containers, after upgrades that fail too,
# and another device, with the TPM that it had.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
. "$GUEST/edge.sh"

export VTPM_APP_ENGINE=containerd CONTAINERD_NAMESPACE=edge
runtime() {
    runc --root /run/containerd/runc/edge "$@"
}

edge_begin
expect_no_hooks
# The way to the TPM can be another with each container.
export VTPM_APP_WAY=hooks
edge_upgrade
expect_equal "the containers that containerd knows" web.2 "$(ctr containers list --quiet)"
edge_move
# Whose the states are that nobody uses: a stopped application's is no orphan.
expect_equal "what would go as an orphan" '' "$(vtpmctl state prune --orphans --unused-for 0s --dry-run)"
app purge --yes web
on_device a
app purge --yes web
# The records are lost, and containerd still knows the containers.
for name in lost lost-2; do
    app create "$name" "$BUNDLES/one"
    app start "$name"
    app stop "$name"
    cp "$VTPM_APP_HOME/$name/1/config.json" "$WORK/others.json"
    rm -rf "${VTPM_APP_HOME:?}/$name"
done
# Another tool's container, whose ID could be an application's.
ctr containers create --config "$WORK/others.json" lost.2
expect_error "its end without a confirmation" 'nobody has confirmed it' app purge lost
expect_equal "the containers after that" 'lost-2.1 lost.1 lost.2' "$(ctr containers list --quiet | paste --serial --delimiters ' ')"
app purge --yes lost
expect_equal "the containers after the end of one without a record" 'lost-2.1 lost.2' \
    "$(ctr containers list --quiet | paste --serial --delimiters ' ')"
expect_equal "the states after it" lost-2 "$(vtpmctl state list --json | jq -r '.[].stateID')"
ctr containers delete lost.2
app create --adopt lost-2 "$BUNDLES/two"
expect_equal "the containers after another application of its name" '' "$(ctr containers list --quiet)"
app purge --yes lost-2
expect_equal "the containers that containerd knows in the end" '' "$(ctr containers list --quiet)"
ctr namespaces remove edge >/dev/null
