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
# The way to the TPM can be another with each container.
export VTPM_APP_WAY=wrapper
edge_upgrade
expect_equal "the containers that containerd knows" web.2 "$(ctr containers list --quiet)"
edge_move
# Whose the states are that nobody uses: a stopped application's is no orphan.
expect_equal "what would go as an orphan" '' "$(vtpmctl state prune --orphans --unused-for 0s --dry-run)"
app purge --yes web
on_device a
app purge --yes web
expect_equal "the containers that containerd knows in the end" '' "$(ctr containers list --quiet)"
ctr namespaces remove edge >/dev/null
