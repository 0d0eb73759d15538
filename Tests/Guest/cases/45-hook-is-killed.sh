# `kill -9` of the hook in the middle of its work: the container is not created, nothing is left, and the next
# creation succeeds.
. "$GUEST/lib.sh"

container_bundle again
before=$(host_snapshot)

# False when the hook had ended before it could be killed.
kill_at() { # MOMENT
    local hook
    container_create_in_background again
    wait_closely "the hook to run" hook_runs
    hook=$process
    wait_closely "$1" "$1"
    if ! kill -KILL "$hook" 2>/dev/null; then
        wait "$creator"
        runtime delete --force again
        return 1
    fi
    expect_failure "creation" wait "$creator"
    expect_host "$before"
    # What the runtime itself has left.
    runtime delete --force again >/dev/null 2>&1 || true
}

for moment in supervisor_runs lease_begins tpm_exists; do
    echo "moment: $moment"
    for ((attempt = 1; attempt <= 5; attempt++)); do
        ! kill_at "$moment" || break
    done
    ((attempt <= 5)) || fail "the hook had always ended before it could be killed"
done
container_start again
container_exec again tpm2_getrandom --hex 8
container_stop again
