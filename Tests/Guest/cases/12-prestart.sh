# For runtimes that know no createRuntime the same works in the prestart stage.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

container_bundle old
container_hooks old "$HOOKS/oci-bundle-prestart.json"
container_start old
container_exec old tpm2_getrandom --hex 8
expect_equal "/dev/tpm0" opened "$(try_open old /dev/tpm0)"
container_stop old

# Both at once are one: a second TPM would be in the way of the first.
container_bundle both
container_edit both '.hooks.prestart = $fragment[0].hooks.prestart' --slurpfile fragment "$HOOKS/oci-bundle-prestart.json"
container_start both
expect_match "both: what the log says" 'called twice: container "both" has tpm[0-9]+ already' "$(tail -n 20 "$SYSLOG")"
expect_equal "both: vTPMs" 1 "$(vtpmctl list --json | jq length)"
container_exec both tpm2_getrandom --hex 8
container_stop both
expect_equal "both: vTPMs after its end" 0 "$(vtpmctl list --json | jq length)"
