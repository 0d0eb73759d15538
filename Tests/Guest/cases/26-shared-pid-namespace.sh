# Containers that share a PID namespace have a TPM each, which lasts as long as any process of its container: one whose
# init is killed keeps its own, what starts meanwhile gets others, and nobody meets another's. The hook alone decides on it; how
# the runtimes make such containers for engines is in 93-cri and 94-pod, with both.
# Runtimes: runc
. "$GUEST/lib.sh"

# Writes the fingerprint of the endorsement key again and again, or `none` where no TPM answers.
witness='#!/bin/bash
while true; do
    rm -f /tmp/witness.*
    if tpm2_createek -c /tmp/witness.ctx -G ecc -u /tmp/witness.pub >/dev/null 2>&1; then
        sha256sum </tmp/witness.pub | cut -d " " -f 1 >>/record
        tpm2_flushcontext -t 2>/dev/null
    else
        echo none >>/record
        sleep 0.2
    fi
done'

container_bundle pause "$without_hooks"
container_start pause
pause=$(container_pid pause)
for id in first second third even; do container_bundle "$id" "$(sharing_pids_of "$pause")"; done
container_bundle odd
host=$(host_snapshot)
declare -A keys
for id in first second third; do
    echo "$witness" >"$BUNDLES/$id/rootfs/witness"
    chmod +x "$BUNDLES/$id/rootfs/witness"
    container_start "$id"
    keys[$id]=$(endorsement_key "$id")
    expect_equal "$id: its init has ended" false "$(lease_field "$id" initHasEnded)"
    expect_equal "$id: its control group" "$(container_group "$id")" "$(lease_field "$id" containerCgroup)"
done
expect_different "the keys of the first two" "${keys[first]}" "${keys[second]}"
expect_different "the keys of the last two" "${keys[second]}" "${keys[third]}"
expect_different "the keys of the first and the last" "${keys[first]}" "${keys[third]}"

group_is_empty() { grep --quiet '^populated 0$' "$(container_group "$1")/cgroup.events"; }
# All processes of a container that has none but those that its runtime knows nothing of.
empty_group() { # ID
    echo 1 >"$(container_group "$1")/cgroup.kill"
    wait_until "the control group of $1 to be empty" group_is_empty "$1"
}
record_of() { sort --unique "$BUNDLES/$1/rootfs/record"; }
has_seen_a_key_since() { (($(grep --count --invert-match none "$BUNDLES/$1/rootfs/record") > $2)); }
wait_for_witness() { # ID
    local lines
    lines=$(grep --count --invert-match none "$BUNDLES/$1/rootfs/record" || true)
    wait_until "the witness in $1" has_seen_a_key_since "$1" "$lines"
}

# --- the init is killed, and a child lives on ---
container_exec_in_background first /witness >/dev/null
wait_until "the witness" test -s "$BUNDLES/first/rootfs/record"
number=$(lease_field first tpmNumber)
init=$(container_pid first)
exec {mounts}<"/proc/$init/ns/mnt"
kill -KILL "$init"
wait_until "the init to end" process_is_gone "$init"
for id in even odd even; do
    container_start "$id"
    expect_different "$id: the number" "$number" "$(lease_field "$id" tpmNumber)"
    expect_different "$id: the key" "${keys[first]}" "$(endorsement_key "$id")"
    wait_for_witness first
    container_stop "$id"
done
expect_equal "what the first's child has seen" "${keys[first]}" "$(record_of first)"
expect_equal "the first: its init has ended" true "$(lease_field first initHasEnded)"
expect_equal "the first: its number" "$number" "$(lease_field first tpmNumber)"
expect_equal "the first: its TPM" serving "$(lease_field first health)"
expect_match "doctor's tpms" '^ok: 3, all working' \
    "$({ vtpmctl doctor --json || true; } | jq --raw-output '.[] | select(.id == "tpms") | "\(.result): \(.found)"')"
expect_error "a grant for the first" "the container's init ended \(start the container again\)" vtpmctl grant first
expect_match "the list" "first .* tpm$number +ended " "$(vtpmctl list)"
expect_equal "the second's key" "${keys[second]}" "$(endorsement_key second)"

# --- the last process ends ---
before=$(lease_field first supervisorPID)
empty_group first
wait_until "the supervisor to end" process_is_gone "$before"
wait_until "the device to go" test ! -e "/sys/class/tpm/tpm$number"
expect_equal "leases" 2 "$(vtpmctl list --json | jq length)"

# An `exec` that was under way gets into the control group, where the node's number is still allowed. The number is
# nobody's as long as it could.
open_device='
import errno, os
try:
    os.open("/dev/tpm0", os.O_RDWR)
    print("opened")
except OSError as error:
    print(errno.errorcode[error.errno])'
expect_match "a late exec" 'ENXIO|ENODEV' "$(exec_late first "$mounts" python3 -c "$open_device")"
for id in even odd; do
    container_start "$id"
    expect_different "$id: the number" "$number" "$(lease_field "$id" tpmNumber)"
    expect_match "a late exec beside $id" 'ENXIO|ENODEV' "$(exec_late first "$mounts" python3 -c "$open_device")"
    container_stop "$id"
done
exec {mounts}<&-
runtime delete first
expect_equal "held numbers of the first" '' "$(find "$LEASES" -name ".number-$number-*")"
container_start odd
expect_equal "the number once the control group is gone" "$number" "$(lease_field odd tpmNumber)"
container_stop odd

# --- the same identity again ---
container_start first
expect_equal "the first's key after a restart" "${keys[first]}" "$(endorsement_key first)"

# --- the supervisor is killed, then the init ---
container_exec_in_background second /witness >/dev/null
number=$(lease_field second tpmNumber)
worker=$(lease_field second workerPID)
init=$(container_pid second)
kill -KILL "$(lease_field second supervisorPID)"
expect_equal "without a supervisor" "$rc_failure" "$(raw_command second /dev/tpm0 "$get_random")"
kill -KILL "$init"
wait_until "the init to end" process_is_gone "$init"
container_start even
expect_different "even: the number" "$number" "$(lease_field even tpmNumber)"
wait_until "the second's child to be told" grep --quiet none "$BUNDLES/second/rootfs/record"
[[ -e /proc/$worker/exe ]] || fail "the second's worker has ended before its container"
expect_equal "the second's TPM" lost "$(lease_field second health)"
# The worker too: the number is the kernel's to give, and the lease alone keeps it.
kill -KILL "$worker"
wait_until "the device to go" test ! -e "/sys/class/tpm/tpm$number"
container_start odd
expect_different "odd: the number" "$number" "$(lease_field odd tpmNumber)"
expect_equal "the second's lease" "$number" "$(lease_field second tpmNumber)"
[[ $(record_of second) == "$(printf '%s\n' "${keys[second]}" none | sort --unique)" || $(record_of second) == none ]] ||
    fail "the second's child has seen $(record_of second)"
empty_group second
runtime delete second
expect_equal "leases of the second" '' "$(vtpmctl list --json | jq --raw-output '.[] | select(.containerID == "second").tpmNumber')"

# --- a worker without a supervisor ends with the last process ---
child=$(container_exec_in_background third sleep infinity)
worker=$(lease_field third workerPID)
init=$(container_pid third)
kill -KILL "$(lease_field third supervisorPID)" "$init"
wait_until "the init to end" process_is_gone "$init"
expect_equal "a command without a supervisor" "$rc_failure" \
    "$(exec {mounts}<"/proc/$child/ns/mnt"; exec_late third "$mounts" python3 -c "
import os
tpm = os.open('/dev/tpm0', os.O_RDWR)
os.write(tpm, bytes.fromhex('$get_random'))
print(os.read(tpm, 4096).hex())")"
[[ -e /proc/$worker/exe ]] || fail "the third's worker has ended before its container"
empty_group third
wait_until "the worker to end" process_is_gone "$worker"
runtime delete third

for id in first even odd pause; do container_stop "$id"; done
expect_host "$host"
expect_equal "held numbers" '' "$(find "$LEASES" -name '.number-*')"
