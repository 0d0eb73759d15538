# `kill -9` of the hook, its supervisor, the worker, or several of them at once, in the midst of a creation: the container
# is not created, nothing is left of it, its state included, and the next creation succeeds.
. "$GUEST/lib.sh"

container_bundle again
container_bundle neighbour
# The host's key and index are made once, and stay.
container_start neighbour
container_stop neighbour
before=$(host_snapshot)

states() { vtpmctl state list --json | jq -c 'map(.stateID) | sort'; }
directories() { find "$STATES" -mindepth 1 -maxdepth 1 -printf '%f ' | tr ' ' '\n' | sort | tr '\n' ' '; }
times_complete() { grep -c 'container "again" is tpm' "$SYSLOG" || true; }

# Finds those of a creation's processes that are to be killed, or that the creation is over. Each is the next one's parent: to look
# through all processes of the host would take longer than the moment lasts.
find_victims() { # NAME...
    local parent=$creator name next file children child comm
    victims=()
    for name in hook supervisor worker; do
        next=''
        for file in "/proc/$parent/task/"*/children; do
            children=''
            # It does not end with a newline.
            { read -r children <"$file"; } 2>/dev/null || true
            for child in $children; do
                if { read -r comm <"/proc/$child/comm"; } 2>/dev/null && [[ $comm == "vtpm-$name" ]]; then next=$child; fi
            done
        done
        [[ -n $next ]] || break
        [[ " $* " != *" $name "* ]] || victims+=("$next")
        parent=$next
    done
    ((${#victims[@]} == $#)) || creator_has_ended
}

# False when it was too late: the container was complete.
cut_short_at() { # MOMENT NAME...
    local moment=$1 complete status=0 victims
    shift
    complete=$(times_complete)
    container_create_in_background again
    # They are looked for in time: the moment is soon over.
    wait_closely "these to run: $*" find_victims "$@"
    wait_closely "$moment" "$moment"
    kill -KILL "${victims[@]}" 2>/dev/null || true
    wait "$creator" || status=$?
    # What the runtime itself has left; and what an engine calls then, if the runtime does not.
    runtime delete --force again >/dev/null 2>&1 || true
    hook poststop "$(state_json again 0)"
    expect_equal "poststop ($HOOK_ERROR)" 0 "$HOOK_STATUS"
    expect_host "$before"
    ((status != 0 && $(times_complete) == complete)) || return 1
}

expect_nothing_left() { # MOMENT NAME...
    local attempt known there
    known=$(states) there=$(directories)
    echo "moment: $*"
    # On a busy machine a start can be over before its processes are found.
    for ((attempt = 1; attempt <= 30; attempt++)); do
        if cut_short_at "$@"; then
            expect_equal "$*: states that are listed" "$known" "$(states)"
            expect_equal "$*: states" "$there" "$(directories)"
            return
        fi
        [[ $known == *again* ]] || vtpmctl state purge --yes again >/dev/null 2>&1 || true
    done
    fail "$*: it was always too late"
}

expect_nothing_left supervisor_runs hook
expect_nothing_left lease_begins hook
expect_nothing_left tpm_exists hook
expect_nothing_left lease_exists hook
# Without one of the others the hook fails, which is all that its runtime sees; or it is killed, as above.
if [[ $RUNTIME == runc ]]; then
    for moment in lease_begins tpm_exists; do
        expect_nothing_left "$moment" supervisor
        expect_nothing_left "$moment" worker
        expect_nothing_left "$moment" hook supervisor
        expect_nothing_left "$moment" hook supervisor worker
    done
fi

container_start again
key=$(endorsement_key again)
container_stop again
# What was there before is nobody's to undo.
expect_nothing_left tpm_exists hook supervisor worker
container_start again
expect_equal "endorsement key" "$key" "$(endorsement_key again)"
container_stop again
