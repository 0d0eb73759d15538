# Other filters in the device cgroup than the runtime's one: the container can use its TPM and nothing more than before,
# or it is refused with the filter's or the setting's name.
# Runtimes: runc
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

readonly groups=/sys/fs/cgroup/container-vtpm-tests harden=/proc/sys/net/core/bpf_jit_harden
tun=10:200

# A second filter, of somebody else's, in the container's own cgroup: it keeps denying what it has denied.
container_bundle two "$with_mknod"
container_hook_first two "$GUEST/device-filter attach $groups/two"
container_start two
expect_equal "filters, with another manager's" 2 "$("$GUEST/device-filter" count "$groups/two")"
container_exec two tpm2_getrandom --hex 8
expect_equal "a device that the second filter denies" EPERM "$(try_own_node two "$tun")"
container_stop two

# No filter: none is attached.
container_bundle none
container_hook_first none "$GUEST/device-filter remove $groups/none"
container_start none
expect_equal "filters, after they were removed" 0 "$("$GUEST/device-filter" count "$groups/none")"
container_exec none tpm2_getrandom --hex 8
container_stop none

# A nested cgroup, and a filter in the one above, which is not the container's.
mkdir "$groups/box"
"$GUEST/device-filter" attach "$groups/box"
container_bundle nested '.linux.cgroupsPath = "/container-vtpm-tests/box/nested"'
container_wrap_hooks nested
before=$(host_snapshot)
expect_creation_refused nested "denied by device filter [0-9]+ of $groups/box "
expect_host "$before"
expect_equal "filters of the cgroup above" 1 "$("$GUEST/device-filter" count "$groups/box")"

# The kernel blinds the constants of programs: they cannot be extended, but need not be either.
was=$(<"$harden")
trap 'status=$?; echo "$was" >"$harden"; (exit "$status"); end_case' EXIT
echo 2 >"$harden"
container_bundle blinded
container_wrap_hooks blinded
before=$(host_snapshot)
expect_creation_refused blinded 'device filter [0-9]+ of .*\(set net\.core\.bpf_jit_harden to 0 or 1'
expect_host "$before"
container_edit blinded '.linux.resources.devices = [{allow: true, access: "rwm"}]'
container_start blinded
container_exec blinded tpm2_getrandom --hex 8
container_stop blinded
