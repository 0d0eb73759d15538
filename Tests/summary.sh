# Runs the kinds of tests there are and counts them; `all`, `newest` and `soak` source it.
passed=0 failed=0
scratch=$(mktemp --directory)
# What runs beside the rest.
preparation='' beside=''
clean_up() {
    local job
    for job in $preparation $beside; do
        kill "$job" 2>/dev/null && wait "$job"
    done
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

count() { # PASSED FAILED
    passed=$((passed + $1))
    failed=$((failed + $2))
}

# Runs a program that says `ok NAME` or `not ok NAME` of each thing that it tries, and counts.
lines_of() { # PROGRAM
    local ended=0 broken
    "$@" 2>&1 | tee "$scratch/lines" || ended=$?
    broken=$(grep --count '^not ok ' "$scratch/lines") || true
    count "$(grep --count '^ok ' "$scratch/lines")" "$broken"
    if ((ended != 0 && broken == 0)); then
        echo "not ok $1 (it did not end in order: exit status $ended)"
        count 0 1
    fi
}

# Names the tests that began and did not end: one waits for something that does not come.
unfinished_tests() {
    comm -23 <(sed -n 's/^◇ Test \(.*\) started\.$/\1/p' "$scratch/unit" | grep -Ev '^(run|case .*)$' | sort -u) \
        <(sed -n -E 's/^[✔✘] Test (.*) (passed|failed) after .*/\1/p' "$scratch/unit" |
            sed -E 's/ with [0-9]+ test cases?$//' | sort -u)
}

# Runs `swift test` with these arguments, shows what failed and what matches the pattern in $show, and counts.
#
# The tests take minutes; half an hour is for a busy machine.
unit_tests() {
    local total broken skipped
    timeout --kill-after=10 "${UNIT_TEST_SECONDS:-1800}" swift test "$@" 2>&1 | tee "$scratch/unit" |
        grep --line-buffered -E "^(✘|↳)|error:|Test run with${show:+|$show}"
    total=$(sed -n 's/.*Test run with \([0-9]*\) tests\{0,1\} in .*/\1/p' "$scratch/unit" | tail -n 1)
    broken=$(grep -c -E '^✘ Test [^ ].* failed after' "$scratch/unit") || true
    # The last line of a failed run has the same form as a failed test's.
    broken=$((broken - $(grep -c -E '^✘ Test run with .* failed after' "$scratch/unit" || true)))
    if [[ -z $total || $total == 0 ]]; then
        tail -n 30 "$scratch/unit"
        unfinished_tests | sed 's/.*/not ok & (it did not end)/'
        echo "not ok unit tests (they did not run to their end)"
        count 0 1
    else
        ((broken > 0)) || grep -q 'Test run with .* passed' "$scratch/unit" || broken=1
        # One that says why it cannot run here has not passed. What makes the fixture anew is no test.
        skipped=$(grep -E '^➜ Test .* skipped' "$scratch/unit" | grep -v '^➜ Test make() ' || true)
        if [[ -n $skipped ]]; then
            echo "$skipped"
            total=$((total - $(grep -c '' <<<"$skipped")))
        fi
        count $((total - broken)) "$broken"
    fi
}

# Begins to fill the cache of the guest cases, which hardly needs a processor; `guest_cases` waits for it, and shows what it
# said. It is for a host with systemd of each suite that is named; of Debian 13 where none is.
prepare_guests() { # [SUITE...]
    local suite options=()
    for suite; do
        options+=(--suite "$suite")
    done
    Tests/Guest/prepare "${options[@]}" >"$scratch/preparation" 2>&1 &
    preparation=$!
}

guests_are_prepared() {
    local status=0
    [[ -n $preparation ]] || prepare_guests ${suite:+"$suite"}
    tail --quiet --follow --lines=+1 --pid="$preparation" "$scratch/preparation"
    wait "$preparation" || status=$?
    preparation=''
    return "$status"
}

# Two machines of 4 GiB with two processors each, where CONTAINER_VTPM_GUESTS=2 asks for it.
may_run_two_guests() {
    [[ ${CONTAINER_VTPM_GUESTS:-1} == 2 ]]
}

# Counts what a run of guest cases has left in $scratch/NAME, which ended with STATUS.
count_guest() { # NAME STATUS
    local sum
    sum=$(tail -n 1 "$scratch/$1" 2>/dev/null)
    if [[ $sum =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        count "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
        if (($2 != 0 && BASH_REMATCH[2] == 0)); then
            echo "not ok $1 (it did not end in order: exit status $2)"
            count 0 1
        fi
    else
        echo "not ok $1 (the cases did not run)"
        count 0 1
    fi
}

# Runs guest cases with these arguments of `Guest/run`, and counts.
run_guest() { # NAME ARGUMENT...
    local status=0
    Tests/Guest/run "${@:2}" --results "$scratch/$1" | sed --unbuffered '$d' || status=$?
    count_guest "$1" "$status"
}

# Runs guest cases with these arguments of `Guest/run`, and counts. With $suite those for the host with systemd, of that
# suite; without it those of both guests. If they run at once, what the second shows comes when the first has ended.
guest_cases() { # ARGUMENT...
    local status=0
    if ! guests_are_prepared; then
        echo "not ok guest cases (they did not run)"
        count 0 1
    elif [[ -n ${suite:-} ]]; then
        run_guest guest "$@" --suite "$suite"
    elif ! may_run_two_guests; then
        run_guest guest "$@"
    else
        Tests/Guest/run "$@" --guest debian-13 --results "$scratch/debian-13" >"$scratch/shown" 2>&1 &
        beside=$!
        run_guest debian-12 "$@" --guest debian-12
        wait "$beside" || status=$?
        beside=''
        sed '$d' "$scratch/shown"
        count_guest debian-13 "$status"
    fi
}

# The last line, and the exit status.
sum_up() {
    echo "$passed passed, $failed failed"
    ((failed == 0))
}
