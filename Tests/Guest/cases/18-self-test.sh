# The kernel waits for no self-test when it registers a TPM, and the TPM tests itself without being told to.
# Guests: debian-12 debian-13
# Runtimes: runc
. "$GUEST/lib.sh"

get_test_result=80010000000a0000017c
full_test=80010000000b0000014301
succeeded=80010000001000000000000000000000
before=$(dmesg | wc -l)

is_tested() { test "$(raw_command main /dev/tpmrm0 "$get_test_result")" = "$succeeded"; }

container_start main
first=$(raw_command main /dev/tpmrm0 "$get_test_result")
expect_match "the result of a test that may not be complete" '^8001000000100000000000000000(090a|0000)$' "$first"
wait_until "the TPM has tested itself" is_tested
expect_equal "a test of everything" 80010000000a00000000 "$(raw_command main /dev/tpmrm0 "$full_test")"
container_shell main 'tpm2_selftest --fulltest && tpm2_gettestresult'
expect_equal "what the kernel says of self-tests" '' \
    "$(dmesg | tail -n "+$((before + 1))" | grep -iE 'tpm.*(self.?test|error|timed)')"
container_stop main
