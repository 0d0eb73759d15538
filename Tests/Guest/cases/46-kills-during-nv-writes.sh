# `kill -9` of worker, supervisor, both or the init at random moments while the container writes to NV: afterwards the
# identity is the same, and every write that was acknowledged is there.
#
# KILL_ROUNDS says how often, KILL_SEED repeats the same choices.
# Runtimes: runc
. "$GUEST/lib.sh"

seed=${KILL_SEED:-$SRANDOM}
rounds=${KILL_ROUNDS:-$(rounds 6 100)}
readonly seed rounds
readonly record=$WORK/record/record
RANDOM=$seed
echo "seed: $seed (KILL_SEED), rounds: $rounds (KILL_ROUNDS)"

mkdir "$WORK/record"
container_bundle writer \
    ".mounts += [{destination: \"/record\", type: \"bind\", source: \"$WORK/record\", options: [\"bind\", \"rw\"]}]"
cp "$GUEST/nv-writer" "$BUNDLES/writer/rootfs/nv-writer"
before=$(host_snapshot)

# The index and the key are exempt from the protection against dictionary attacks, which a killed TPM counts as one.
container_start writer
container_shell writer '
    tpm2_createprimary -C o -G ecc -c /tmp/primary.ctx
    tpm2_evictcontrol -C o -c /tmp/primary.ctx 0x81000100
    tpm2_nvdefine 0x1500001 -C o -s 8 -a "ownerread|ownerwrite|no_da"
    echo 0000000000000000 | xxd -revert -plain | tpm2_nvwrite 0x1500001 -C o -i -' >/dev/null
endorsement_key=$(endorsement_key writer)
container_stop writer
container_set_command writer python3 /nv-writer /record/record

# Reads what nv-writer has recorded: $key, $found, and the newest $tried, $done and $end. No program is started for it,
# since that takes as long as a hundred writes.
read_record() {
    local lines=() line
    key='' found='' tried='' done='' end=''
    [[ ! -e $record ]] || mapfile -t lines <"$record"
    for line in "${lines[@]:0:2}" "${lines[@]: -3}"; do
        case $line in
            'key '*) key=${line#* } ;;
            'found '*) found=${line#* } ;;
            'try '*) tried=${line#* } ;;
            'done '*) done=${line#* } ;;
            'end '*) end=${line#* } ;;
        esac
    done
}

writes_or_ended() { read_record && [[ $done$end ]]; }
has_ended() { read_record && [[ $end ]]; }

# Starts the container and compares what it finds with what was promised before: done <= found <= tried. Leaves the
# processes' IDs in $init, $worker and $supervisor.
start_and_compare() { # WHAT
    local leases
    rm -f "$record"
    container_start writer
    leases=$(vtpmctl list --json | jq --raw-output '.[] | "\(.initPID) \(.workerPID) \(.supervisorPID)"')
    read -r init worker supervisor <<<"$leases"
    wait_until "the first write" writes_or_ended
    [[ $end == '' ]] || fail "$1: the writer could not write: $end"
    expect_equal "$1: the persistent key" "${first_key:=$key}" "$key"
    ((acknowledged <= found && found <= attempted)) ||
        fail "$1: the container finds $found, $acknowledged was acknowledged, $attempted attempted"
}

kill_and_stop() { # TARGET
    local pids
    case $1 in
        worker) pids=("$worker") ;;
        supervisor) pids=("$supervisor") ;;
        'worker and supervisor') pids=("$worker" "$supervisor") ;;
        'supervisor and worker') pids=("$supervisor" "$worker") ;;
        init) pids=("$init") ;;
    esac
    printf -v delay '0.%03d' $((RANDOM % 1000))
    sleep "$delay"
    kill -KILL "${pids[@]}"
    [[ $1 == init ]] || wait_until "the writer to see the TPM fail" has_ended
    runtime delete --force writer
    read_record
    acknowledged=$done attempted=$tried
}

targets=(worker supervisor 'worker and supervisor' 'supervisor and worker' init)
first_key='' acknowledged=0 attempted=0 writes=0
for ((round = 1; round <= rounds; round++)); do
    target=${targets[RANDOM % ${#targets[@]}]}
    what="round $round of seed $seed"
    start_and_compare "$what"
    if ((round % 10 == 0)); then
        expect_equal "$what: the endorsement key" "$endorsement_key" "$(endorsement_key writer)"
    fi
    kill_and_stop "$target"
    writes=$((writes + acknowledged - found))
    echo "$what: $target after $delay s: found $found, then acknowledged $acknowledged, attempted $attempted${end:+ ($end)}"
done
start_and_compare "the end of seed $seed"
expect_equal "the endorsement key at the end" "$endorsement_key" "$(endorsement_key writer)"
container_stop writer
expect_host "$before"
echo "$writes acknowledged writes, none lost"
