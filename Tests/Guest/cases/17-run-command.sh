# `vtpmctl run`: a command on the host has a TPM of its own, without any engine; nothing is made in the host's /dev, and nothing is
# left, however it ends.
# Runtimes: runc
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

# Runs a script with tpm2-tools, which the root filesystem of the containers has, in a /dev that is the command's own.
# shellcheck disable=SC2016 # the command's shell expands it
readonly inside='mount -t tmpfs tests "$0/tmp" && mount --rbind /dev "$0/dev" &&
    exec chroot "$0" env TPM2TOOLS_TCTI=device:/dev/tpmrm0 bash -ec "$1"'
run() { # OPTION... -- SCRIPT
    local options=()
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    vtpmctl run "${options[@]}" -- bash -c "$inside" "$ROOTFS" "$2"
}
readonly show_key='tpm2_createek -c /tmp/ek.ctx -G ecc -u /tmp/ek.pub >/dev/null
    sha256sum </tmp/ek.pub | cut -d " " -f 1'
host_dev() {
    # The first TPM loads the module that makes vtpmx.
    find /dev ! -path '/dev/pts/*' ! -path '/dev/fd/*' ! -path '/dev/tpm*' ! -path '/dev/char/*' ! -path /dev/vtpmx 2>/dev/null |
        LC_ALL=C sort
}

configure <<<''
host=$(host_snapshot) dev=$(host_dev)

# Two at once, and each is alone with its TPM.
mkfifo "$WORK/go"
run -- "$show_key; read -r _" <"$WORK/go" >"$WORK/first" &
first=$!
exec {go}>"$WORK/go"
wait_until "the first one's key" test -s "$WORK/first"
expect_equal "the host's /dev during it" "$dev" "$(host_dev)"
expect_match "the list" "run-[0-9]+ +\(ephemeral\) +tpm[0-9]+ .* serving" "$(vtpmctl list)"
expect_different "the endorsement keys of two" "$(<"$WORK/first")" "$(run -- "$show_key")"
expect_equal "what it sees of TPMs" '/dev/tpm0 /dev/tpmrm0' "$(vtpmctl run -- bash -c 'echo /dev/tpm[0-9]* /dev/tpmrm*')"
expect_equal "what it sees in sysfs" '' "$(vtpmctl run -- ls /sys/class/tpm /sys/class/tpmrm | grep '^tpm' || true)"
expect_equal "its number of random bytes" 16 "$(run -- 'tpm2_getrandom --hex 8' | tr -d '\n' | wc -c)"
echo >&"$go"
exec {go}>&-
wait "$first" || fail "the first one failed"
expect_host "$host"

# With no other vTPM on the host it is the one for which the kernel makes these folders.
# shellcheck disable=SC2016 # the command's shell expands it
expect_equal "what it sees below sysfs' devices" '' \
    "$(vtpmctl run -- bash -c 'for class in tpm tpmrm; do ls "/sys/devices/virtual/$class" 2>/dev/null || true; done')"
(cd /dev && vtpmctl run -- test ./tpm0 -ef /dev/tpm0) || fail "a working directory in /dev leads to the host's TPMs"
expect_host "$host"

# The state stays, and is one TPM's; who uses it keeps it.
key=$(run --state 'web/a b' -- "$show_key; tpm2_createprimary -C o -c /tmp/o.ctx >/dev/null")
expect_equal "the endorsement key of the same state" "$key" "$(run --state 'web/a b' -- "$show_key")"
expect_equal "the states" 'web/a b' "$(vtpmctl state list --json | jq -r '.[].stateID')"
expect_equal "an orphan" false "$(vtpmctl state show 'web/a b' | jq .isOrphan)"
vtpmctl run --state 'web/a b' -- sleep infinity &
user=$!
wait_until "the state to be used" sh -c "vtpmctl list | grep -q 'run-$user .*web/a b'"
wait_until "the process to be the command" grep --quiet --line-regexp sleep "/proc/$user/comm"
expect_error "the state that is in use" "container \"run-$user\" uses it" vtpmctl run --state 'web/a b' -- true

# What ends the command ends its TPM, and there is no process of ours that it could leave.
kill -KILL "$user"
status=0
wait "$user" || status=$?
expect_equal "the exit code after SIGKILL" 137 "$status"
expect_host "$host"
for how in 'exit 7=7' 'kill -TERM $$=143' 'exec /nowhere=127'; do
    status=0
    vtpmctl run -- bash -c "${how%=*}" 2>/dev/null || status=$?
    expect_equal "the exit code of ${how%=*}" "${how#*=}" "$status"
done
expect_host "$host"
expect_equal "the host's /dev afterwards" "$dev" "$(host_dev)"

# Killed while its TPM is made: there is no state, or a whole one.
vtpmctl run --state early -- sleep infinity &
user=$!
wait_closely "the vTPM to be made" lease_begins
kill -KILL "$user"
wait "$user" || true
expect_host "$host"
vtpmctl state verify >/dev/null

# Refused, in one line, and with an exit code of its own.
expect_refusal() { # WHAT REGEX CODE COMMAND...
    local what=$1 regex=$2 code=$3 status=0 error
    shift 3
    error=$("$@" 2>&1 </dev/null) || status=$?
    expect_equal "$what: the exit code" "$code" "$status"
    expect_match "$what" "$regex" "$error"
    expect_equal "$what: the number of lines" 1 "$(wc -l <<<"$error")"
}
expect_refusal "somebody else" '^vtpmctl: cannot give the command a TPM: it needs root$' 125 \
    setpriv --reuid 65534 --clear-groups vtpmctl run -- true
expect_refusal "a command that is not there" 'No such file' 127 vtpmctl run --state new -- no-such-command
expect_refusal "a name that is none" 'cannot use "" as a state ID: it is empty' 125 vtpmctl run --state '' -- true
vtpmctl run -- vtpmctl version >/dev/null
expect_refusal "a command in a command" '^vtpmctl: .*: /sys/class/tpm is hidden, as it is from a command of vtpmctl run ' 125 \
    vtpmctl run -- bash -c 'vtpmctl run -- true; exit "$?"'
expect_refusal "a command that would become one with another TPM" 'has one already' 125 vtpmctl run -- vtpmctl run -- true
expect_host "$host"

# A control group that allows no TPM is not changed: the command is refused.
if [[ -d /run/systemd/system ]]; then
    in_unit() { systemd-run --quiet --pipe --wait --property DevicePolicy=closed "$@"; }
    expect_refusal "a unit that allows no devices" '/dev/vtpmx: .*Operation not permitted' 125 in_unit vtpmctl run -- true
    expect_refusal "a unit that allows no TPM" 'denied by device filter|mknod: Operation not permitted' 125 \
        in_unit --property 'DeviceAllow=/dev/vtpmx rw' vtpmctl run -- true
    in_unit --property 'DeviceAllow=char-tpm rwm' --property 'DeviceAllow=char-misc rwm' vtpmctl run -- true
    expect_host "$host"
fi
