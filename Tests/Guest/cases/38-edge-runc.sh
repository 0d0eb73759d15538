# An edge orchestrator's application, with a runtime alone: other containers, after upgrades that fail too, and another device,
# with the TPM that it had.
. "$GUEST/lib.sh"
. "$GUEST/edge.sh"

export VTPM_APP_ENGINE=runc VTPM_APP_RUNTIME_ROOT=$WORK/$RUNTIME

edge_begin
expect_no_hooks
# The way to the TPM can be another with each container. A runtime that is named is not the wrapper's.
[[ $RUNTIME != crun ]] || export VTPM_APP_RUNTIME=$RUNTIME
edge_upgrade

# What does not depend on the runtime is shown with one of them.
if [[ $RUNTIME == crun ]]; then
    # One that starts, and does not stay.
    app_bundle brief '.process.args = ["false"]'
    VTPM_APP_TRIAL=1 expect_error "an upgrade to what ends at once" 'web\.3 ended within 1 s; .*web\.2 runs again with its TPM$' \
        app upgrade web "$BUNDLES/brief"
    container_exec web.2 test -c /dev/tpmrm0

    # An init that was killed: another start makes the container anew, with its TPM.
    runtime kill web.2 KILL
    wait_until "the container web.2 to stop" container_is_stopped web.2
    app start web
    expect_equal "the endorsement key after its init was killed" "$key" "$(endorsement_key web.2)"
    app stop web
    app purge --yes web
    exit
fi

# A step that was interrupted leaves its version behind, which the next one removes.
mkdir "$VTPM_APP_HOME/web/3"
edge_move
[[ ! -e $WORK/a.applications/web/3 ]] || fail "the version of an interrupted upgrade is still there"
edge_end

# The hook leaves a pod's sandbox alone, whatever it asks for. Nothing of it runs.
app_bundle bare '.annotations["io.kubernetes.cri.container-type"] = "sandbox" | .process.args = ["touch", "/it-ran"]'
app create bare "$BUNDLES/bare"
expect_error "a container without a TPM" 'cannot start bare: the container bare\.1 came without the TPM bare' app start bare
[[ ! -e $BUNDLES/bare/rootfs/it-ran ]] || fail "the container without a TPM has run"
app purge bare

# The record is lost, and the runtime still knows the container.
app create lost "$BUNDLES/one"
app start lost
rm -rf "$VTPM_APP_HOME/lost"
expect_error "the end of what runs without a record" 'its container lost\.1 runs, .* no record of it; .* kill lost\.1 KILL$' app purge --yes lost
runtime kill lost.1 KILL
wait_until "the container lost.1 to stop" container_is_stopped lost.1
app purge --yes lost
expect_containers "the containers after the end of one without a record"
expect_equal "the states after it" '' "$(vtpmctl state list --json | jq -r '.[].stateID')"
expect_error "the end of nothing" 'there is no such application' app purge --yes lost
expect_error "a TPM that is not there" 'no TPM of that name to adopt' app create --adopt db "$BUNDLES/one"
