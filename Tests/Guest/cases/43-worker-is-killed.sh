# `kill -9` of the worker: the container's TPM answers TPM_RC_FAILURE and keeps its number until the container stops;
# no younger TPM takes its place.
# Runtimes: runc
. "$GUEST/lib.sh"

container_bundle broken
container_bundle other
before=$(host_snapshot)
container_start broken
key=$(endorsement_key broken)
number=$(lease_field broken tpmNumber)
worker=$(lease_field broken workerPID)
kill -KILL "$worker"
wait_until "the worker to end" process_is_gone "$worker"

for device in /dev/tpm0 /dev/tpmrm0; do
    expect_equal "the answer at $device" "$rc_failure" "$(raw_command broken "$device" "$get_random")"
done
expect_error "tpm2_getrandom" '0x101' container_exec broken tpm2_getrandom --hex 8
wait_until "the log to tell of it" grep 'vtpm-supervisor.*"broken" failed .*signal 9' "$SYSLOG"

container_start other
expect_different "the numbers of the failed TPM and of the next" "$number" "$(lease_field other tpmNumber)"
container_exec other tpm2_getrandom --hex 8
container_stop other

container_stop broken
expect_host "$before"
container_start broken
expect_equal "the endorsement key after a restart" "$key" "$(endorsement_key broken)"
container_stop broken
