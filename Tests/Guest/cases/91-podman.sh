# podman with its defaults: the TPM works, and goes on working whatever systemd and podman do to the container's unit.
# Guests: debian-13
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
ENGINE=podman

install_carrier
engine_import
host=$(host_snapshot)
engine_start main
unit=$(scope_of "$id")
expect_tpm "at first" main
key=$(engine_endorsement_key main)
# crun 1.23 and newer has systemd attach a program that it has pinned, in place of rules.
pinned=$(systemctl show --property=BPFProgram --value "$unit")
if [[ -z $pinned ]]; then
    expect_match "device rules of the unit" "/dev/char/$(lease_field "$id" tpm) rw" \
        "$(systemctl show --property=DeviceAllow --value "$unit")"
fi

systemctl daemon-reload
neighbours_come_and_go machine.slice
expect_tpm "after daemon-reload and five neighbours" main
systemctl daemon-reexec
neighbours_come_and_go machine.slice
expect_tpm "after daemon-reexec and five neighbours" main
systemctl set-property --runtime "$unit" MemoryMax=1G
expect_tpm "after a property of its unit was set" main

podman_update main
expect_tpm "after podman update" main

podman restart --time 0 main >/dev/null
expect_tpm "after its restart" main
expect_equal "its endorsement key after the restart" "$key" "$(engine_endorsement_key main)"
podman stop --time 0 main >/dev/null
wait_until "the vTPM to end with its container" vtpms_are 0
podman start main >/dev/null
expect_equal "its endorsement key after a stop and a start" "$key" "$(engine_endorsement_key main)"
podman rm --force --time 0 main >/dev/null
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
