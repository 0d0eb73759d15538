# For runtimes that know no createRuntime the same works in the prestart stage.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

container_bundle old
container_hooks old "$HOOKS/oci-bundle-prestart.json"
container_start old
container_exec old tpm2_getrandom --hex 8
expect_equal "/dev/tpm0" opened "$(try_open old /dev/tpm0)"
container_stop old

# Both at once would give the container a second TPM.
container_bundle both
container_edit both '.hooks.prestart = $fragment[0].hooks.prestart' --slurpfile fragment "$HOOKS/oci-bundle-prestart.json"
expect_failure "both: creation" container_create both
expect_match "both: what the log says" 'container "both" has one already \(init [0-9]+\) \(configure the hook for' \
    "$(tail -n 20 "$SYSLOG")"
