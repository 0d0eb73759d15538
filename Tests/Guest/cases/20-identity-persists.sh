# The same container ID finds the same TPM again: endorsement key, persistent key and NV content; its PCRs begin at
# zero. Another ID has another TPM.
# Guests: debian-12 debian-13
# Runtimes: runc
. "$GUEST/lib.sh"

persistent_key() {
    container_shell "$1" 'tpm2_readpublic -c 0x81000100 -o /tmp/key.pub >/dev/null && sha256sum </tmp/key.pub'
}

container_start same
first_endorsement_key=$(endorsement_key same)
container_shell same '
    tpm2_createprimary -C o -G ecc -c /tmp/primary.ctx >/dev/null
    tpm2_create -C /tmp/primary.ctx -G ecc -u /tmp/key.pub -r /tmp/key.priv -c /tmp/key.ctx >/dev/null
    tpm2_evictcontrol -C o -c /tmp/key.ctx 0x81000100 >/dev/null
    tpm2_nvdefine 0x1500001 -C o -s 7 -a "ownerread|ownerwrite" >/dev/null
    echo -n content | tpm2_nvwrite 0x1500001 -C o -i -
    tpm2_pcrextend 7:sha256=0101010101010101010101010101010101010101010101010101010101010101'
first_key=$(persistent_key same)
expect_different "PCR 7 after it was extended" "$zero_pcr" "$(pcr same 7)"
container_stop same

for round in second third; do
    container_start same
    expect_equal "the endorsement key of the $round start" "$first_endorsement_key" "$(endorsement_key same)"
    expect_equal "the persistent key of the $round start" "$first_key" "$(persistent_key same)"
    expect_equal "the NV content of the $round start" content "$(container_exec same tpm2_nvread 0x1500001 -C o)"
    expect_equal "PCR 7 of the $round start" "$zero_pcr" "$(pcr same 7)"
    # Without a word to the TPM before: what is durable does not depend on an orderly end.
    container_stop same
done

container_start other
expect_different "endorsement keys of two IDs" "$first_endorsement_key" "$(endorsement_key other)"
expect_error "the first TPM's key in another TPM" 'the handle is not correct' persistent_key other
container_stop other
