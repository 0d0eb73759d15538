# Three containers of one pod, made by containerd's CRI, share a PID namespace, and each has a TPM of its own that nobody
# else ever meets, whatever dies.
# Guests: debian-13
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

install_carrier
cri_import
host=$(host_snapshot)
cri_key() { # NAME
    "$CRI" exec pod "$1" sh -euc "export TPM2TOOLS_TCTI=device:/dev/tpmrm0; $print_endorsement_key"
}

pods=(pod)
"$CRI" pod pod pid=pod "runtime=$RUNTIME" >/dev/null
for name in first second third; do
    # Its init has a child that outlives it.
    "$CRI" container pod "$name" "device=$TPM_DEVICE" sh -c 'setsid sleep 100000 & exec sleep 100000' >/dev/null
    keys+=("$(cri_key "$name")")
done
expect_different "the keys of the first two" "${keys[0]}" "${keys[1]}"
expect_different "the keys of the last two" "${keys[1]}" "${keys[2]}"
expect_different "the keys of the first and the last" "${keys[0]}" "${keys[2]}"
wait_until "three vTPMs" vtpms_are 3

systemctl daemon-reload
systemd-run --quiet --scope --slice kubepods.slice --property 'DeviceAllow=/dev/null rw' true
expect_equal "the second's key after daemon-reload and another start" "${keys[1]}" "$(cri_key second)"

first=$("$CRI" id pod first)
number=$(lease_field "$first" tpmNumber)
kill -KILL "$(lease_field "$first" initPID)"
sleep 1
# Its child lives on in the container's control group.
expect_equal "the number of the first's TPM while its child lives" "$number" "$(lease_field "$first" tpmNumber)"
"$CRI" container pod fourth "device=$TPM_DEVICE" sleep 100000 >/dev/null
fourth=$("$CRI" id pod fourth)
expect_different "the numbers of the first's TPM and the fourth's" "$number" "$(lease_field "$fourth" tpmNumber)"
expect_different "the keys of the first and the fourth" "${keys[0]}" "$(cri_key fourth)"
expect_equal "the third's key" "${keys[2]}" "$(cri_key third)"
wait_until "the first's TPM to end with its child" \
    bash -c '! vtpmctl list --json | grep --quiet "$1"' - "$first"

"$CRI" remove pod
pods=()
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
