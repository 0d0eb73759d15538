# Without a rule of ours in its device cgroup a container cannot open a TPM, not even one that it has a node for: so
# what opens in the other cases does so because of the hook's grant, and for that container alone.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

container_bundle granted "$with_mknod"
container_bundle bare "$with_mknod" "$without_hooks"
container_start granted
container_start bare

expect_equal "a device that every container may open" opened "$(try_own_node bare 1:3)"
for class in tpm tpmrm; do
    number=$(lease_field granted "$class")
    expect_equal "opening $class without a grant" EPERM "$(try_own_node bare "$number")"
    expect_equal "opening $class with a grant" opened "$(try_open granted "/dev/${class}0")"
done
# The grant has not opened anything else: what was forbidden before still is.
expect_equal "a device that no container may open" EPERM "$(try_own_node granted 1:1)"
expect_equal "the maker of TPMs" EPERM "$(try_own_node granted "10:$(awk '$2 == "vtpmx" { print $1 }' /proc/misc)")"
container_stop bare
container_stop granted
