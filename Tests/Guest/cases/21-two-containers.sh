# Of two containers at once each reaches its own TPM, and neither can open the other's, whose nodes it may make.
. "$GUEST/lib.sh"

for id in one two; do
    container_bundle "$id" "$with_mknod"
    container_start "$id"
done
expect_different "TPM numbers" "$(lease_field one tpmNumber)" "$(lease_field two tpmNumber)"
expect_different "endorsement keys" "$(endorsement_key one)" "$(endorsement_key two)"
container_exec one tpm2_pcrextend 7:sha256=0101010101010101010101010101010101010101010101010101010101010101
expect_different "PCR 7 of the TPM that was extended" "$zero_pcr" "$(pcr one 7)"
expect_equal "PCR 7 of the other TPM" "$zero_pcr" "$(pcr two 7)"

for class in tpm tpmrm; do
    one=$(lease_field one "$class")
    two=$(lease_field two "$class")
    # Its own number shows that it is not making the node that fails.
    expect_equal "opening its own $class" opened "$(try_own_node one "$one")"
    expect_equal "opening the other's $class" EPERM "$(try_own_node one "$two")"
    expect_equal "opening the other's $class" EPERM "$(try_own_node two "$one")"
done

# The end of one is not the other's.
container_stop one
container_exec two tpm2_getrandom --hex 8
container_stop two
