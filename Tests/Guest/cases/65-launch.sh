# What runs is measured before the container's first instruction: the same for a bundle with the hook and with the wrapper, in
# registers that root in the container cannot change, with a log that it can only read and that the tools of others replay.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

readonly WRAPPER=/usr/libexec/container-vtpm/vtpm-runtime LOG=/dev/launch.eventlog
configure <<<"[runtime]
path = \"$(command -v "$RUNTIME")\""
secret='.process.env += ["TOKEN=hunter2"]'

predicted() { # ID
    vtpmctl launch predict "$BUNDLES/$1" | sed -n 's/^17 *sha256 *//p'
}

# The hook, twice, and the wrapper.
container_bundle first "$secret"
container_bundle second "$secret"
container_bundle third "$secret" "$without_hooks"
value=$(predicted first)
expect_match "the predicted value" '^[0-9a-f]{64}$' "$value"
container_start first
container_start second
"$WRAPPER" --root "$WORK/$RUNTIME" create --bundle "$BUNDLES/third" third </dev/null >"$WORK/output" 2>&1 ||
    fail "create by the wrapper: $(<"$WORK/output")"
runtime start third
for id in first second third; do
    expect_equal "PCR 17 of $id" "$value" "$(pcr "$id" 17 | tr A-F a-f)"
    expect_equal "PCR 11 of $id" "$value" "$(pcr "$id" 11 | tr A-F a-f)"
    expect_equal "the host's log of $id" "$(vtpmctl launch show "$id" --print log | sha256sum)" \
        "$(container_exec "$id" cat "$LOG" | sha256sum)"
done
vtpmctl launch diff first third >"$WORK/differences" || fail "hook and wrapper differ: $(<"$WORK/differences")"
expect_different "PCR 18 of two containers" "$(pcr first 18)" "$(pcr second 18)"
expect_equal "PCR 8" "$(pcr first 18)" "$(pcr first 8)"

# What the host says of it.
shown=$(vtpmctl launch show first)
expect_match "the image" 'image\.digest: "not stated"' "$shown"
expect_match "the root" 'root\.content: "not measured"' "$shown"
expect_match "the name of a variable" '"TOKEN"' "$shown"
if grep -q hunter2 <<<"$shown"; then fail "the statement has a secret of the environment"; fi
if container_exec first grep -q hunter2 "$LOG"; then fail "the log has a secret of the environment"; fi

# The tools of others.
replayed=$(container_exec first tpm2_eventlog "$LOG" 2>&1 | tr A-F a-f)
if grep -iE 'warn|error' <<<"$replayed"; then fail "tpm2_eventlog complains"; fi
expect_match "the replayed value" "17 *: 0x$value" "$replayed"
container_shell first "
    tpm2_createek -Q -c /tmp/ek.ctx -G ecc
    tpm2_createak -Q -C /tmp/ek.ctx -c /tmp/ak.ctx -G ecc -g sha256 -s ecdsa -u /tmp/ak.pub -f pem >/dev/null
    tpm2_quote -Q -c /tmp/ak.ctx -l sha256:8,11,17,18 -q 1234 -m /tmp/msg -s /tmp/sig -o /tmp/pcrs -g sha256
    tpm2_checkquote -Q -u /tmp/ak.pub -m /tmp/msg -s /tmp/sig -f /tmp/pcrs -g sha256 -q 1234 -e $LOG"

# Root in the container.
expect_error "writing the log" 'Read-only file system' container_exec first sh -c "echo >>$LOG"
expect_error "removing the log" 'busy' container_exec first rm "$LOG"
expect_error "changing the log's mode" 'Read-only file system' container_exec first chmod 0666 "$LOG"
for index in 17 18; do
    expect_error "extending PCR $index" '0x907' container_exec first tpm2_pcrextend "$index:sha256=$value"
    expect_error "resetting PCR $index" '0x907' container_exec first tpm2_pcrreset "$index"
done
container_exec first tpm2_pcrextend "11:sha256=$value"
expect_equal "PCR 17 after all that" "$value" "$(pcr first 17 | tr A-F a-f)"
expect_different "PCR 11 after it was appended to" "$value" "$(pcr first 11 | tr A-F a-f)"

# Another argument, capability, mount, filter, each of which is named.
different() { # PATH JQ
    vtpmctl launch diff "$BUNDLES/first/" "$BUNDLES/other/" >"$WORK/same" || fail "two bundles differ: $(<"$WORK/same")"
    container_edit other "$2"
    expect_different "PCR 17 with another $1" "$value" "$(predicted other)"
    expect_error "the difference" "^$1" vtpmctl launch diff "$BUNDLES/first/" "$BUNDLES/other/"
    cp "$BUNDLES/first/config.json" "$BUNDLES/other/"
}
mkdir -p "$BUNDLES/other"
cp "$BUNDLES/first/config.json" "$BUNDLES/other/"
different process.args.1 '.process.args[1] = "99999"'
different process.capabilities.bounding '.process.capabilities.bounding += ["CAP_SYS_ADMIN"]'
different mounts. '.mounts += [{destination: "/data", type: "bind", source: "/srv", options: ["rbind"]}]'
different linux.seccomp '.linux.seccomp = {defaultAction: "SCMP_ACT_LOG"}'
vtpmctl launch diff "$BUNDLES/first/" first >"$WORK/differences" || fail "a bundle and its container differ: $(<"$WORK/differences")"

# It is measured anew at each start.
instance=$(pcr second 18)
container_stop second
container_start second
expect_equal "PCR 17 at the next start" "$value" "$(pcr second 17 | tr A-F a-f)"
expect_different "PCR 18 at the next start" "$instance" "$(pcr second 18)"
for id in first second third; do container_stop "$id"; done

# The tree of a small root file system, whose PCRs the host reads. The runtime makes /proc and others in it.
# AppArmor lets the hook read images only where the host says so, as docs/launch.md has it.
profiles() {
    [[ -e /sys/fs/selinux/enforce ]] || apparmor_parser --replace --skip-cache /etc/apparmor.d/vtpm-hook
}
trap 'status=$?; rm -f /etc/apparmor.d/local/vtpm-hook; profiles; (exit "$status"); end_case' EXIT
mkdir -p /etc/apparmor.d/local
echo '/** r,' >/etc/apparmor.d/local/vtpm-hook
profiles
configure <<<"[launch]
root = \"tree\"
[runtime]
path = \"$(command -v "$RUNTIME")\""
small_bundle() { # ID
    mkdir -p "$BUNDLES/$1/rootfs/bin"
    local file
    for file in /bin/sleep $(ldd /bin/sleep | grep -o '/[^ ]*'); do
        install -D "$file" "$BUNDLES/$1/rootfs/$file"
    done
    jq '.process.args = ["/bin/sleep", "infinity"] | .root.path = "rootfs"' <"$BUNDLES/other/config.json" \
        >"$BUNDLES/$1/config.json"
}
host_pcr() { # ID
    tr A-F a-f <"/sys/class/tpm/tpm$(lease_field "$1" tpmNumber)/pcr-sha256/17"
}
small_bundle small
small_bundle changed
value=$(predicted small)
expect_equal "PCR 17 of the same tree" "$value" "$(predicted changed)"
container_start small
expect_equal "PCR 17 with a tree" "$value" "$(host_pcr small)"
expect_match "the tree" 'root\.content\.tree: "sha256:[0-9a-f]{64}"' "$(vtpmctl launch show small)"
container_stop small
echo >>"$BUNDLES/changed/rootfs/bin/sleep"
container_start changed
expect_different "PCR 17 of another tree" "$value" "$(host_pcr changed)"
expect_match "the difference" '^root\.content\.tree: ' "$(vtpmctl launch diff "$BUNDLES/small/" changed || true)"
container_stop changed

# It can be left out.
configure <<<'[launch]
measure = false'
container_start first
expect_error "a log that is not there" 'No such file' container_exec first cat "$LOG"
expect_match "PCR 17 without a launch" '^[Ff]{64}$' "$(pcr first 17)"
expect_error "showing it" 'it was not measured' vtpmctl launch show first
container_stop first
