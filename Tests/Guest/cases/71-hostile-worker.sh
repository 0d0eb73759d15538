# A worker that its tenant has taken over attacks the host from behind its confinement: each attempt is its end, the
# container sees TPM_RC_FAILURE, the log names the vTPM and why, and a neighbour and the host notice nothing. All of the
# fixture's attacks are tried in a soak, and always by HostileWorkerTests.
# Runtimes: runc
. "$GUEST/lib.sh"

readonly worker=/usr/libexec/container-vtpm/vtpm-worker
some='opens a file
connects over the network
connects to a local socket
forks
executes a program
traces another process
reads another process.s memory
signals everybody
maps executable memory'
[[ -z ${CONTAINER_VTPM_SOAK:-} ]] || some=.

container_bundle neighbour
container_start neighbour
key=$(endorsement_key neighbour)
# Where the limit for locked memory can be raised, as here, all of a worker's memory is locked.
expect_match "the neighbour's locked memory" '^[1-9]' \
    "$(awk '/^VmLck:/ { print $2 }' "/proc/$(lease_field neighbour workerPID)/status")"
container_bundle hostile
mount --bind "$FIXTURES/hostile-worker" "$worker"
host=$(host_snapshot)

tried=0
while IFS=$'\t' read -r order attack _; do
    ((order < 0xa100)) || continue
    echo "attack: $attack"
    : >"$SYSLOG"
    container_start hostile
    expect_different "the answer before the attack" "$rc_failure" "$(raw_command hostile /dev/tpmrm0 "$get_random")"
    command=$(printf '80010000000c0000017b%04x' "$order")
    expect_equal "the answer to the attack" "$rc_failure" "$(raw_command hostile /dev/tpmrm0 "$command")"
    expect_equal "the answer after it" "$rc_failure" "$(raw_command hostile /dev/tpm0 "$get_random")"
    wait_until "the log to tell of it" \
        grep 'vtpm-supervisor.*vTPM of container "hostile" failed.*signal 31' "$SYSLOG"
    container_stop hostile
    expect_host "$host"
    tried=$((tried + 1))
done < <("$FIXTURES/hostile-worker" --list | grep -E "^[0-9]+"$'\t'"(${some//$'\n'/|})")
expect_equal "the neighbour's key after the attacks" "$key" "$(endorsement_key neighbour)"
((tried >= 9)) || fail "expected nine attacks or more, tried $tried"

umount "$worker"
container_start hostile
expect_different "the answer of the real worker" "$rc_failure" "$(raw_command hostile /dev/tpmrm0 "$get_random")"
container_stop hostile
expect_equal "the neighbour's key" "$key" "$(endorsement_key neighbour)"
container_stop neighbour
