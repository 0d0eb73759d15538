# A container finds a working TPM 2.0 of its own at /dev/tpmrm0 and /dev/tpm0.
# Guests: debian-12 debian-13
WITH_KEYS=yes
. "$GUEST/lib.sh"

container_start main
container_shell main '
    set -x
    tpm2_getrandom --hex 16
    tpm2_createprimary -C o -c /tmp/primary.ctx
    tpm2_evictcontrol -C o -c /tmp/primary.ctx 0x81000100
    tpm2_readpublic -c 0x81000100
    tpm2_pcrextend 7:sha256=0101010101010101010101010101010101010101010101010101010101010101
    tpm2_nvdefine 0x1500001 -C o -s 7 -a "ownerread|ownerwrite"
    echo -n content | tpm2_nvwrite 0x1500001 -C o -i -
    test "$(tpm2_nvread 0x1500001 -C o)" = content'
expect_different "PCR 7 after it was extended" "$zero_pcr" "$(pcr main 7)"

expect_match "the answer at /dev/tpm0" '^8001000000140000000000' "$(raw_command main /dev/tpm0 "$get_random")"
expect_match "the answer at /dev/tpmrm0" '^8001000000140000000000' "$(raw_command main /dev/tpmrm0 "$get_random")"

for class in tpm tpmrm; do
    number=$(lease_field main "$class")
    expect_equal "the number of $class in the lease" \
        "$(device_number "$class" "$(lease_field main tpmNumber)")" "$number"
    printf -v expected 'character special file %x:%x 600 0:0' "${number%:*}" "${number#*:}"
    expect_equal "/dev/${class}0 in the container" "$expected" \
        "$(container_exec main stat --format '%F %t:%T %a %u:%g' "/dev/${class}0")"
done

# What the page for those who have never seen a TPM shows.
container_shell main "cd /tmp
$(commands_of what-is-a-tpm.md 'What software does with it')"
container_stop main
