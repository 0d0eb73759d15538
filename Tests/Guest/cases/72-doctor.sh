# `vtpmctl doctor` finds nothing to mend on a host as it should be, changes nothing, and foretells why containers would be
# refused. A permission that was taken from a running container is noticed, and given again by `vtpmctl grant`.
# Runtimes: runc
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

readonly harden=/proc/sys/net/core/bpf_jit_harden barrier=/etc/modprobe.d/container-vtpm-tests.conf
hardened=$(<"$harden")
trap 'status=$?; echo "$hardened" >"$harden"; rm -f "$barrier"; (exit "$status"); end_case' EXIT

# Runs it, and leaves what it printed in `findings` and its exit status in `status`.
examine() {
    status=0
    findings=$(vtpmctl doctor --json) || status=$?
}

finding() { # ID
    jq --raw-output --arg id "$1" '.[] | select(.id == $id) | "\(.result): \(.found) -> \(.remedy)"' <<<"$findings"
}

# The host has something that keeps a container from being created: its check says so, and so does the hook.
expect_foretold() { # ID WHAT-IS-FOUND WHAT-THE-HOOK-SAYS
    examine
    expect_equal "the exit status with $1 wrong" 1 "$status"
    expect_match "what is found about $1" "problem: $2" "$(finding "$1")"
    expect_equal "other refusals that are foretold" "$1" \
        "$(jq --raw-output '[.[] | select(.refusesContainers).id] | join(" ")' <<<"$findings")"
    expect_creation_refused web "$3"
}

host=$(host_snapshot)
states=$(state_snapshot)
examine
vtpmctl doctor || true
expect_equal "what has to be mended on this host" '' \
    "$(jq --raw-output '.[] | select(.result == "problem" or .result == "unknown") | "\(.id): \(.found)"' <<<"$findings")"
expect_equal "the exit status" 0 "$status"
expect_host "$host"
expect_states "$states"

container_bundle web "$with_mknod"
container_start web
examine
expect_match "the finding about a running container's TPM" 'ok: 1, all working' "$(finding tpms)"
expect_match "the finding about its permission" 'ok: 1, all as they were given' "$(finding grants)"
expect_match "the finding about random numbers" '(ok|note): ' "$(finding random-source)"

# Somebody replaces the container's filter, as a runtime may that changes its limits.
"$GUEST/device-filter" attach /sys/fs/cgroup/container-vtpm-tests/web
expect_failure "the TPM, without its permission" container_exec web tpm2_getrandom --hex 8
examine
expect_equal "the exit status without the permission" 2 "$status"
expect_match "the finding about the permission" 'problem: 1 may not use its TPM any more: web -> vtpmctl grant web' \
    "$(finding grants)"
vtpmctl grant web
container_exec web tpm2_getrandom --hex 8
expect_equal "a device that no container may open" EPERM "$(try_own_node web 10:200)"
examine
expect_equal "the exit status with the permission" 0 "$status"
expect_error "a grant for a container that there is not" 'no running container of this ID has one' vtpmctl grant nobody

# Its supervisor and its worker are killed.
kill -KILL "$(lease_field web supervisorPID)" "$(lease_field web workerPID)"
wait_until "the kill" eval '! pgrep "^vtpm-"'
examine
expect_equal "the exit status with a lost TPM" 2 "$status"
expect_match "the finding about it" 'problem: 1 lost: web' "$(finding tpms)"
container_stop web
container_wrap_hooks web

configure <<<'[state]
ids = "container"'
expect_foretold configuration 'cannot read /etc/container-vtpm/config.toml: line 2' 'config.toml: line 2'
configure <<<''
chmod 0644 "$MASTER_KEY"
expect_foretold master-key '.*its mode is 0644 -> chmod 0600' 'its mode is 0644'
chmod 0600 "$MASTER_KEY"
chown 1000 "$STATES/web"
expect_foretold states '1 of 1 cannot be used, such as web' 'belongs to user 1000'
chown 0 "$STATES/web"
echo 2 >"$harden"
expect_foretold bpf-hardening 'net.core.bpf_jit_harden is 2.* -> sysctl' 'bpf_jit_harden'
echo "$hardened" >"$harden"
if modprobe --remove tpm_vtpm_proxy; then
    echo 'install tpm_vtpm_proxy /bin/false' >"$barrier"
    expect_foretold vtpm-proxy "$barrier.* -> take the line" 'load the kernel module tpm_vtpm_proxy'
    rm "$barrier"
    modprobe tpm_vtpm_proxy
fi
container_start web
container_stop web
