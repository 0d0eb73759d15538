# `kill -9` of the worker, then of the supervisor, and of both at once, while the container uses its TPM all the time and
# other containers come and go: all it gets are errors and TPM_RC_FAILURE, and never a word of another's TPM.
#
# REUSE_ROUNDS says how many containers come and go after each kill.
# Runtimes: runc
. "$GUEST/lib.sh"

rounds=${REUSE_ROUNDS:-$(rounds 2 100)}
readonly rounds
readonly record=$WORK/record/record
echo "rounds: $rounds (REUSE_ROUNDS)"

mkdir "$WORK/record"
container_bundle watcher \
    ".mounts += [{destination: \"/record\", type: \"bind\", source: \"$WORK/record\", options: [\"bind\", \"rw\"]}]"
cp "$GUEST/device-watcher" "$BUNDLES/watcher/rootfs/device-watcher"
container_set_command watcher python3 /device-watcher /record/record
container_bundle even
container_bundle odd

rounds_of_watcher() { sed -n 's/^rounds //p' "$record" 2>/dev/null | tail -n 1; }
# At least one whole round has begun and ended since a moment.
watcher_has_gone_on() { (($(rounds_of_watcher) >= $1 + 2)); }
wait_for_watcher() {
    local now
    now=$(rounds_of_watcher)
    wait_until "the watcher to ask all its questions" watcher_has_gone_on "${now:-0}"
}

start_watcher() {
    rm -f "$record"
    before=$(host_snapshot)
    container_start watcher
    number=$(lease_field watcher tpmNumber)
    worker=$(lease_field watcher workerPID)
    supervisor=$(lease_field watcher supervisorPID)
    wait_for_watcher
    # It can tell TPMs from each other: all its questions are answered while its own TPM lives.
    expect_equal "questions that are answered at first" 8 "$(grep -c ' answered ' "$record")"
}

# After this many lines of the record nothing is answered any more.
note_end() {
    wait_for_watcher
    wait_for_watcher
    lines=$(grep -c '' "$record")
}

expect_no_answer() { # WHAT
    local answers
    answers=$(tail -n "+$((lines + 1))" "$record" | grep ' answered ' || true)
    expect_equal "$1: what the watcher was answered" '' "$answers"
}

# Containers come and go; each is stopped only when the next is there.
others_come_and_go() { # WHAT [ROUNDS]
    local round id previous='' numbers=()
    for ((round = 1; round <= ${2:-$rounds}; round++)); do
        id=even
        ((round % 2 == 0)) || id=odd
        container_start "$id"
        numbers+=("$(lease_field "$id" tpmNumber)")
        wait_for_watcher
        # What it tried to write is in no TPM of another's.
        expect_equal "$1: PCR 23 of another's TPM" "$zero_pcr" "$(pcr "$id" 23)"
        expect_no_answer "$1"
        [[ -z $previous ]] || container_stop "$previous"
        previous=$id
    done
    container_stop "$previous"
    expect_no_answer "$1"
    [[ " ${numbers[*]} " != *" $number "* ]] || fail "$1: another was given the watcher's number"
    echo "$1: the watcher's number was $number, the others' were ${numbers[*]}; at $SECONDS s"
    echo "$1: outcomes: $(grep -v rounds "$record" | grep -v answered | sed 's/.* //' | sort | uniq --count | tr '\n' ' ')"
}

stop_watcher() {
    container_stop watcher
    expect_host "$before"
}

start_watcher
kill -KILL "$worker"
wait_until "the worker to end" process_is_gone "$worker"
note_end
# The supervisor has the number yet: fewer rounds tell as much.
others_come_and_go "without the worker" $(((rounds + 1) / 2))
kill -KILL "$supervisor"
wait_until "the supervisor to end" process_is_gone "$supervisor"
others_come_and_go "without the worker, then the supervisor"
stop_watcher

# Its own TPM is as it was: it answers again.
start_watcher
kill -KILL "$supervisor" "$worker"
wait_until "the supervisor to end" process_is_gone "$supervisor"
wait_until "the worker to end" process_is_gone "$worker"
# The number is free now, which is what the lease is for: nothing else keeps it from the next container.
wait_until "the device to go" test ! -e "/sys/class/tpm/tpm$number"
note_end
others_come_and_go "without both at once"
stop_watcher
