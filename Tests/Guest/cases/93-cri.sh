# Three containers of one pod, made by containerd's CRI, share a PID namespace, and each has a TPM of its own that nobody
# else ever meets, whatever dies.
# Guests: debian-13
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

install_carrier
cri_import
host=$(host_snapshot)
cri_id() { # NAME
    "$CRI" id pod "$1"
}
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

# containerd's shim kills what an init leaves behind, as soon as it hears of its death. The next container may be faster.
kill -KILL "$(lease_field "$(cri_id first)" initPID)"
"$CRI" container pod fourth "device=$TPM_DEVICE" sleep 100000 >/dev/null
for i in 0 1 2; do
    expect_different "the keys of container $i and the fourth" "${keys[i]}" "$(cri_key fourth)"
done
expect_equal "the second's key" "${keys[1]}" "$(cri_key second)"
expect_equal "the third's key" "${keys[2]}" "$(cri_key third)"
wait_until "the first's TPM to end with its last process" vtpms_are 3
expect_equal "the containers with a TPM" "$(printf '%s\n' "$(cri_id second)" "$(cri_id third)" "$(cri_id fourth)" | sort)" \
    "$(vtpmctl list --json | jq --raw-output '.[].containerID' | sort)"

"$CRI" remove pod
pods=()
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
