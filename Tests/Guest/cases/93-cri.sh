# Containers of one pod, made by containerd's CRI, share a PID namespace, and each has a TPM of its own that nobody
# else ever meets, whatever dies. They have it by the hook, and another pod's container by the wrapper, whatever systemd and
# containerd do.
# Of the two runtimes, the hook's containers have one and the wrapper's the other.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
ENGINE=cri

install_carrier
cri_import
install_wrapper containerd
host=$(host_snapshot)
RUNTIME=crun cri_pod pod pid=pod
WAY=wrapper cri_pod wrapped
# Their inits have a child that outlives them.
init=(sh -c 'setsid sleep 100000 & exec sleep 100000')
for name in first second; do member "pod/$name" cri hook crun; done
member wrapped/third cri wrapper runc
each start_member
pcr_of() { # NAME
    vtpmctl launch show "$(<"$(name=$1 record id)")" | grep '^17 *sha256'
}
expect_equal "PCR 17 of two containers of a pod" "$(pcr_of pod/first)" "$(pcr_of pod/second)"
expect_match "the value of PCR 17" '^17 +sha256 +[0-9a-f]{64}$' "$(pcr_of pod/first)"
expect_equal "different keys" 3 "$(cat "$WORK"/*.key | sort --unique | grep --count .)"
# A pod's sandbox has none.
expect_equal "containers with a TPM" "$(cat "$WORK"/*.id | sort)" \
    "$(vtpmctl list --json | jq --raw-output '.[].containerID' | sort)"
each expect_device_rules

neighbour_comes_and_goes() {
    systemd-run --quiet --scope --slice kubepods.slice --property 'DeviceAllow=/dev/null rw' true
}
systemctl daemon-reload
neighbour_comes_and_goes
each expect_key "after daemon-reload and another start"
systemctl daemon-reexec
neighbour_comes_and_goes
each expect_tpm "after daemon-reexec and another start"
each set_a_property
each expect_tpm "after a property of its unit was set"
each update_and_grant
each expect_tpm "after an update"
systemctl restart containerd
wait_until "containerd" ctr version
each expect_key "after containerd's restart"

# containerd's shim kills what an init leaves behind, as soon as it hears of its death. The next container may be faster.
name=pod/first
first=$(<"$(record id)")
kill -KILL "$(lease_field "$first" initPID)"
member pod/fourth cri hook crun
members=("${members[@]:1}")
WAY=hook engine_start pod/fourth
name=pod/fourth remember_key
expect_equal "different keys with the fourth" 4 "$(cat "$WORK"/*.key | sort --unique | grep --count .)"
each expect_key "after the first's end"
wait_until "the first's TPM to end with its last process" vtpms_are 3
expect_equal "the containers with a TPM" "$(cat "$WORK"/*.id | grep --invert-match "$first" | sort)" \
    "$(vtpmctl list --json | jq --raw-output '.[].containerID' | sort)"

cri clear
expect_host "$host"

# ctr takes the wrapper without any configuration.
ctr --namespace k8s.io run --rm --runc-binary /usr/libexec/container-vtpm/vtpm-runtime "$IMAGE" by-ctr \
    env TPM2TOOLS_TCTI=device:/dev/tpmrm0 tpm2_getrandom --hex 8 >"$WORK/bytes"
expect_match "random bytes with ctr" '^[0-9a-f]{16}$' "$(<"$WORK/bytes")"
expect_host "$host"
expect_equal "units of ours" '' "$(units_of_ours)"
