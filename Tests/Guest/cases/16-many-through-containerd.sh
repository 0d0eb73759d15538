# Containers that start at once through containerd, by ctr, all come to be with the runtime wrapper, each with a TPM of its own,
# and nothing of them is left.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

cri_import
host=$(host_snapshot)
count=$(rounds 4 64)

# Starts so many at once, waits for all of them, and prints how long that took.
start_all() { # WAY OPTION...
    local way=$1 number starters=() begin=$SECONDS
    shift
    for ((number = 1; number <= count; number++)); do
        ctr --namespace k8s.io run --detach "$@" "$IMAGE" "$way-$number" sleep 100000 </dev/null >"$WORK/$way-$number" 2>&1 &
        starters+=($!)
    done
    for ((number = 1; number <= count; number++)); do
        wait "${starters[number - 1]}" || fail "cannot start $way-$number: $(<"$WORK/$way-$number")"
    done
    echo "measured: $count containers at once, $way: $((SECONDS - begin)) s"
}

stop_all() { # WAY
    local number
    for ((number = 1; number <= count; number++)); do
        ctr --namespace k8s.io task delete --force "$1-$number" >/dev/null 2>&1 || true
        ctr --namespace k8s.io container delete "$1-$number" >/dev/null
    done
}

start_all wrapper --runc-binary /usr/libexec/container-vtpm/vtpm-runtime
expect_equal "TPMs" "$count" "$(vtpmctl list --json | jq '[.[].tpmNumber] | unique | length')"
stop_all wrapper
wait_until "all vTPMs to be gone" vtpms_are 0
expect_host "$host"

# For comparison: without a TPM, and with the hook, which a fixture in the runtime's place puts into config.json.
if [[ -n ${CONTAINER_VTPM_SOAK:-} ]]; then
    start_all without
    stop_all without
    cat >"$WORK/with-hooks" <<END
#!/bin/bash
for ((i = 1; i < \$#; i++)); do
    next=\$((i + 1))
    [[ \${!i} != --bundle ]] || bundle=\${!next}
done
if [[ -n \${bundle:-} ]]; then
    jq --slurpfile ours $HOOKS/oci-bundle.json '.hooks = \$ours[0].hooks | .hooks.createRuntime[].timeout = 600' \
        <"\$bundle/config.json" >"\$bundle/config.new" && mv "\$bundle/config.new" "\$bundle/config.json"
fi
exec runc "\$@"
END
    chmod 0755 "$WORK/with-hooks"
    start_all hook --runc-binary "$WORK/with-hooks"
    expect_equal "TPMs with the hook" "$count" "$(vtpmctl list --json | jq '[.[].tpmNumber] | unique | length')"
    stop_all hook
    wait_until "all vTPMs to be gone" vtpms_are 0
fi
