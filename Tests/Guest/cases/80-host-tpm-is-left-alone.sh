# On a host with a hardware TPM a container gets a TPM of its own beside it. The host's is not reachable in the
# container, and nothing in it has changed.
# Needs: hardware-tpm
# Runtimes: runc
. "$GUEST/lib.sh"

# Prints what the host's TPM must not lose, and what a container must not find.
host_tpm_device
host_srk_replace
host_tpm tpm2_nvdefine 0x1500001 --hierarchy=o --size=7 --attributes='ownerread|ownerwrite' >/dev/null
echo -n content | host_tpm tpm2_nvwrite 0x1500001 --hierarchy=o --input=-
host_pcr_extend 7 "the host's"
host_key=$(host_endorsement_key)
before=$(host_tpm_contents)
for expected in 'persistent 0x81000001' 'NV index 0x1500001' 636f6e74656e74 "7 : 0x$(host_pcr 7)"; do
    [[ $before == *"$expected"* ]] || fail "the host's TPM lacks '$expected': $before"
done

expect_host_tpm() { # WHEN
    local now
    now=$(host_tpm_contents)
    [[ $now == "$before" ]] || {
        show_difference "$before" "$now"
        fail "the host's TPM is not as it was $1"
    }
}

container_bundle guest "$with_mknod"
container_start guest
expect_host_tpm "after the container's start"
host_tpm_device
expect_equal "the vTPM's number" 1 "$(lease_field guest tpmNumber)"
[[ ! -e /sys/class/tpm/tpm1/device ]] || fail "there is a device behind the vTPM"
for class in tpm tpmrm; do
    number=$(device_number "$class" 1)
    expect_equal "the number of $class in the lease" "$number" "$(lease_field guest "$class")"
    expect_equal "the number of /dev/${class}0" "$(printf '%x:%x' "${number%:*}" "${number#*:}")" \
        "$(container_exec guest stat --format '%t:%T' "/dev/${class}0")"
    expect_equal "opening its own $class" opened "$(try_own_node guest "$number")"
    expect_equal "opening the host's $class" EPERM "$(try_own_node guest "$(device_number "$class" 0)")"
done
expect_equal "the TPMs in /dev" "tpm0 tpmrm0" \
    "$(container_shell guest 'cd /dev && echo tpm*')"

# Another TPM: not one thing of the host's is in it.
expect_different "the endorsement keys of host and container" "$host_key" "$(endorsement_key guest)"
expect_equal "PCR 7" "$zero_pcr" "$(pcr guest 7)"
for kind in handles-persistent handles-nv-index; do
    handles=$(container_exec guest tpm2_getcap "$kind")
    expect_equal "$kind" '' "$handles"
done

# What the container does in its TPM, also the worst, is none of the host's business.
container_shell guest '
    tpm2_pcrextend 7:sha256=0101010101010101010101010101010101010101010101010101010101010101
    tpm2_nvdefine 0x1500001 -C o -s 7 -a "ownerread|ownerwrite"
    tpm2_clear -c l
    tpm2_changeauth -c o owner
    tpm2_changeauth -c l lockout
    tpm2_pcrreset 16' >/dev/null
expect_host_tpm "after the container has used its own"
container_stop guest
expect_host_tpm "after the container's end"
expect_equal "the host's endorsement key" "$host_key" "$(host_endorsement_key)"
