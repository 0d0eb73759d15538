# On a host with cgroup v1 the grant is a rule in devices.allow, and works the same.
. "$GUEST/lib.sh"

# The devices controller belongs to no cgroup v2 hierarchy, so it can be had as v1 beside it: here in place of it, in
# a mount namespace that ends with this part of the case.
cat >"$WORK/in-cgroup-v1" <<'END'
. "$GUEST/lib.sh"
umount --recursive /sys/fs/cgroup
mount -t tmpfs -o mode=0755 cgroup /sys/fs/cgroup
for controller in devices freezer; do
    mkdir "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
done

container_bundle granted "$with_mknod"
container_bundle bare "$with_mknod" "$without_hooks"
container_bundle sharing
before=$(host_snapshot)
container_start granted
container_start bare
container_exec granted tpm2_getrandom --hex 8
for class in tpm tpmrm; do
    number=$(lease_field granted "$class")
    expect_equal "opening $class with a grant" opened "$(try_open granted "/dev/${class}0")"
    expect_equal "opening $class without a grant" EPERM "$(try_own_node bare "$number")"
    grep --quiet "^c $number rw$" /sys/fs/cgroup/devices/container-vtpm-tests/granted/devices.list ||
        fail "devices.list has no rule for $number"
done

# Nothing tells there when the last process of a container has ended that shares its PID namespace.
container_edit sharing "$(sharing_pids_of "$(container_pid bare)")"
container_wrap_hooks sharing
held=$(host_snapshot)
expect_creation_refused sharing 'it shares a PID namespace, and control groups of version 1 do not tell'
expect_host "$held"
container_stop granted
container_stop bare
expect_host "$before"
END
unshare --mount --propagation private bash "$WORK/in-cgroup-v1"
