# podman with its defaults: the TPM works, by the hook and by the wrapper, and goes on working whatever systemd and podman do
# to the container's unit. Of the two runtimes, the hook's containers have one and the wrapper's the other.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
ENGINE=podman

install_carrier
install_wrapper podman
engine_import
host=$(host_snapshot)
member hook podman hook crun
member wrapper podman wrapper runc
each start_member
expect_same_launch "$(<"$(name=hook record id)")" "$(<"$(name=wrapper record id)")"
each expect_device_rules

systemctl daemon-reload
neighbours_come_and_go machine.slice
each expect_tpm "after daemon-reload and five neighbours"
systemctl daemon-reexec
neighbours_come_and_go machine.slice
each expect_tpm "after daemon-reexec and five neighbours"
each set_a_property
each expect_tpm "after a property of its unit was set"

each update_and_grant
each expect_tpm "after podman update"

podman restart --time 0 hook wrapper >/dev/null
each expect_key "after its restart"
podman stop --time 0 hook wrapper >/dev/null
wait_until "the vTPMs to end with their containers" vtpms_are 0
podman start hook wrapper >/dev/null
each expect_key "after a stop and a start"
podman rm --force --time 0 hook wrapper >/dev/null
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
