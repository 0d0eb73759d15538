# A container's processes treat both devices as badly as they can, all at once: random commands, half frames, commands that
# nobody waits for, kills in the middle. Worker and supervisor take no more of the host, neighbours and new containers do
# not notice, and the TPM is what it was. The great numbers are tried without a kernel, in `HostileTenantTests`.
#
# HOSTILE_ACTIONS says how much each of the processes does, HOSTILE_SEED repeats the same choices.
# Runtimes: runc
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

actions=${HOSTILE_ACTIONS:-$(rounds 150 10000)}
seed=${HOSTILE_SEED:-$SRANDOM}
readonly actions seed
echo "seed: $seed (HOSTILE_SEED), actions: $actions (HOSTILE_ACTIONS)"

# The median of some commands' times, in ms.
ask_neighbour() {
    container_exec neighbour python3 -c '
import os, statistics, time
tpm = os.open("/dev/tpmrm0", os.O_RDWR)
times = []
for _ in range(50):
    start = time.monotonic()
    os.write(tpm, bytes.fromhex("80010000000c0000017b0008"))
    assert os.read(tpm, 4096)[:10].hex() == "80010000001400000000"
    times.append(time.monotonic() - start)
print(f"{statistics.median(times) * 1000:.2f}")'
}

# Memory of its own in KiB, descriptors, threads.
usage() { # PID
    echo "$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status")" \
        "$(find "/proc/$1/fd" -mindepth 1 | wc -l)" "$(sed -n 's/^Threads:[^0-9]*//p' "/proc/$1/status")"
}

container_bundle hostile
cp "$GUEST/hostile-tenant" "$BUNDLES/hostile/rootfs/hostile-tenant"
container_bundle neighbour
container_bundle late
container_start neighbour
before=$(host_snapshot)
neighbours_key=$(endorsement_key neighbour)
container_exec neighbour tpm2_pcrextend 16:sha256=0101010101010101010101010101010101010101010101010101010101010101
neighbours_pcr=$(pcr neighbour 16)
container_start hostile
key=$(endorsement_key hostile)
worker=$(lease_field hostile workerPID)
supervisor=$(lease_field hostile supervisorPID)

# What they need at most shows in the first of two runs.
container_exec hostile python3 /hostile-tenant "$seed" $((actions / 3 + 1))
worker_before=$(usage "$worker") supervisor_before=$(usage "$supervisor")
alone=$(ask_neighbour)
container_exec hostile python3 /hostile-tenant $((seed + 100)) "$actions" &
tenant=$!
beside=$(ask_neighbour)
echo "a neighbour's command: $alone ms alone, $beside ms beside the hostile container"
# The host answers, and makes TPMs, in the meantime.
container_start late
container_exec late tpm2_getrandom --hex 8
expect_equal "TPMs in the list" 3 "$(vtpmctl list --json | jq length)"
container_stop late
wait "$tenant" || fail "the hostile container's TPM failed, or its kernel hung"
worker_after=$(usage "$worker") supervisor_after=$(usage "$supervisor")
echo "worker (KiB, descriptors, threads): before $worker_before, after $worker_after"
echo "supervisor: before $supervisor_before, after $supervisor_after"
expect_equal "the worker's descriptors and threads" "${worker_before#* }" "${worker_after#* }"
expect_equal "the supervisor's descriptors and threads" "${supervisor_before#* }" "${supervisor_after#* }"
((${worker_after%% *} < ${worker_before%% *} + 2048)) || fail "the worker's memory grows"
((${supervisor_after%% *} < ${supervisor_before%% *} + 1024)) || fail "the supervisor's memory grows"

# Nobody manages what was left in the TPM through /dev/tpm0.
container_shell hostile '
    export TPM2TOOLS_TCTI=device:/dev/tpm0
    for kind in --transient-object --loaded-session --saved-session; do tpm2_flushcontext "$kind"; done'

expect_equal "the neighbour's endorsement key" "$neighbours_key" "$(endorsement_key neighbour)"
expect_equal "the neighbour's PCR" "$neighbours_pcr" "$(pcr neighbour 16)"
for device in /dev/tpm0 /dev/tpmrm0; do
    expect_match "the answer at $device" '^8001000000140000000000' "$(raw_command hostile "$device" "$get_random")"
done
expect_equal "the endorsement key" "$key" "$(endorsement_key hostile)"
# The log has what the supervisor says at all.
grep --quiet 'vtpm-supervisor.*"hostile" is tpm' "$SYSLOG" || fail "the log has no line of the supervisor's"
expect_equal "failures in the log" '' "$(grep 'vtpm-supervisor.*failed' "$SYSLOG" || true)"
container_stop hostile
expect_host "$before"
container_start hostile
expect_equal "the endorsement key after a restart" "$key" "$(endorsement_key hostile)"
container_stop hostile
container_stop neighbour
