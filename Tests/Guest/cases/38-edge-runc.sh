# An edge orchestrator's application, with a runtime alone: other containers, after upgrades that fail too, and another device,
# with the TPM that it had.
. "$GUEST/lib.sh"
. "$GUEST/edge.sh"

export VTPM_APP_ENGINE=runc VTPM_APP_RUNTIME=$RUNTIME VTPM_APP_RUNTIME_ROOT=$WORK/$RUNTIME

edge_begin
edge_upgrade

# One that starts, and does not stay.
app_bundle brief '.process.args = ["false"]'
VTPM_APP_TRIAL=1 expect_error "an upgrade to what ends at once" 'web\.3 ended within 1 s; .*web\.2 runs again with its TPM$' \
    app upgrade web "$BUNDLES/brief"
container_exec web.2 test -c /dev/tpmrm0

# A step that was interrupted leaves its version behind, which the next one removes.
mkdir "$VTPM_APP_HOME/web/3"
edge_move
[[ ! -e $WORK/a.applications/web/3 ]] || fail "the version of an interrupted upgrade is still there"

edge_end
app create web "$BUNDLES/one"
expect_error "a TPM that is not there" 'no TPM of that name to adopt' app create --adopt db "$BUNDLES/one"
app purge web
