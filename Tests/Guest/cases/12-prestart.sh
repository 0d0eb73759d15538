# For runtimes that know no createRuntime the same works in the prestart stage.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

container_bundle old
container_hooks old "$HOOKS/oci-bundle-prestart.json"
container_start old
container_exec old tpm2_getrandom --hex 8
expect_equal "/dev/tpm0" opened "$(try_open old /dev/tpm0)"

# Both at once are one: a second TPM would be in the way of the first.
container_bundle both
container_edit both '.hooks.prestart = $fragment[0].hooks.prestart' --slurpfile fragment "$HOOKS/oci-bundle-prestart.json"
container_start both
expect_match "both: what the log says" 'called twice: container "both" has tpm[0-9]+ already' "$(tail -n 20 "$SYSLOG")"
expect_equal "vTPMs of the two" 2 "$(vtpmctl list --json | jq length)"
container_exec both tpm2_getrandom --hex 8

# Another init of that name has no part in it, nor has one whose TPM was lost since.
hook createRuntime "$(state_json both "$(container_pid old)")"
expect_refusal "another init" 'has one already \(init [0-9]+\)' "$HOOK_STATUS" "$HOOK_ERROR"
container_stop old
container_exec both tpm2_getrandom --hex 8
kill -KILL "$(lease_field both workerPID)"
wait_until "the worker to be gone" process_is_gone "$(lease_field both workerPID)"
hook createRuntime "$(state_json both "$(container_pid both)")"
expect_refusal "a TPM that was lost" 'was lost \(create the container again\)' "$HOOK_STATUS" "$HOOK_ERROR"
container_stop both
expect_equal "both: vTPMs after its end" 0 "$(vtpmctl list --json | jq length)"
