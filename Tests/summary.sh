# Runs the kinds of tests there are and counts them; `all`, `newest` and `soak` source it.
passed=0 failed=0
scratch=$(mktemp --directory)
trap 'rm -rf "$scratch"' EXIT

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

# Runs guest cases with these arguments of `Guest/run`, and counts. With $suite those for the host with systemd, of that
# suite.
guest_cases() {
    local guest=0 sum suite_option=()
    [[ -z ${suite:-} ]] || suite_option=(--suite "$suite")
    rm -f "$scratch/guest"
    { Tests/Guest/prepare "${suite_option[@]}" && Tests/Guest/run "$@" "${suite_option[@]}" --results "$scratch/guest" | sed --unbuffered '$d'; } || guest=$?
    sum=$(tail -n 1 "$scratch/guest" 2>/dev/null)
    if [[ $sum =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        count "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
        if ((guest != 0 && BASH_REMATCH[2] == 0)); then
            echo "not ok guest (it did not end in order: exit status $guest)"
            count 0 1
        fi
    else
        echo "not ok guest cases (they did not run)"
        count 0 1
    fi
}

# The last line, and the exit status.
sum_up() {
    echo "$passed passed, $failed failed"
    ((failed == 0))
}
