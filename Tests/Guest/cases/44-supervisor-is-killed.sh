# `kill -9` of the supervisor: the TPM can store nothing any more and answers TPM_RC_FAILURE until the container
# stops; then nothing is left, and the next start finds the same TPM.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

container_bundle broken
before=$(host_snapshot)
container_start broken
key=$(endorsement_key broken)
supervisor=$(lease_field broken supervisorPID)
kill -KILL "$supervisor"
wait_until "the supervisor to end" process_is_gone "$supervisor"
for device in /dev/tpm0 /dev/tpmrm0; do
    expect_equal "the answer at $device" "$rc_failure" "$(raw_command broken "$device" "$get_random")"
done

container_stop broken
expect_host "$before"
container_start broken
expect_equal "the endorsement key after a restart" "$key" "$(endorsement_key broken)"
container_stop broken
