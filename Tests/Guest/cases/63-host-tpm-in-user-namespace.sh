# On a host with a TPM of its own the /dev/tpm0 of a container is the container's, also where the runtime was told to put
# the host's there. runc does so in a user namespace by binding the host's node, whatever number it is given: that is
# refused. crun binds a node of its own making there; some versions then tell hooks that the bundle is "/"
# (crun, pull request 2263).
# Needs: hardware-tpm
. "$GUEST/lib.sh"

readonly host_node='.linux.devices += [{path: "/dev/tpm0", type: "c", major: 10, minor: 224, fileMode: 432}]'
host_tpm_device >/dev/null

expect_own_tpm() { # ID
    local number
    number=$(lease_field "$1" tpm)
    expect_equal "the vTPM's number" 1 "$(lease_field "$1" tpmNumber)"
    expect_equal "the number of /dev/tpm0" "$(printf '%x:%x' "${number%:*}" "${number#*:}")" \
        "$(container_exec "$1" stat --format '%t:%T' /dev/tpm0)"
    container_exec "$1" tpm2_getrandom --tcti device:/dev/tpm0 --hex 8
    expect_equal "PCR 16" "$zero_pcr" "$(pcr "$1" 16)"
}

host_pcr_extend 16 "the host's"
host=$(host_pcr 16)
container_bundle mapped "$in_user_namespace"
container_bundle device "$host_node"
container_bundle bound "$in_user_namespace" "$host_node"
before=$(host_snapshot)
container_start mapped
expect_own_tpm mapped
container_stop mapped

# As --device does.
container_start device
expect_own_tpm device
container_stop device

container_wrap_hooks bound
expect_creation_refused bound '(something is mounted there \(take /dev/tpm0 out of linux\.devices|//config\.json.*the runtime gives / as the bundle)'
expect_host "$before"
expect_equal "PCR 16 of the host's TPM" "$host" "$(host_pcr 16)"
