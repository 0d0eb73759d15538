# shellcheck shell=bash
# shellcheck disable=SC2034 # much here is for the cases
# For cases: containers with and without a vTPM, the hook called by hand, and assertions. A case is one bash script
# that begins with `. "$GUEST/lib.sh"`; it passes when it exits 0 and leaves the host as it was. One with the line
# `# Needs: hardware-tpm` among its first comments finds a TPM of the host's (host-tpm.sh); runtimes.sh tells of another
# such line. It gets
#
#   RUNTIME    the OCI runtime to use: runc or crun
#   WORK       an empty folder on a tmpfs
#   HOOKS      the folder of hook configurations
#   DOCUMENTS  README.md and the pages of docs
#   FIXTURES   programs that stand in for ours
#   ROOTFS     a Debian with tpm2-tools, read only
#   SELFTESTS  the kernel's tools/testing/selftests/tpm2
#   SYSLOG     the file to which /dev/log is written
#   PHASE      `begin`, or what `restart_host` was told
#
# What it finds is not configured, but for the keys of new TPMs (`configure`).
#
# The line `# Guests: debian-12 debian-13` has it run on a host with systemd as well, and `# Guests: debian-13` there alone
# (engines.sh); without it a case runs on the host without.
#
# It fails when AppArmor denies something to a program of ours, other than what it has announced in $WORK/denials
# (apparmor.sh).
set -euo pipefail

: "${RUNTIME:?}" "${WORK:?}" "${HOOKS:?}" "${ROOTFS:?}" "${SELFTESTS:?}" "${SYSLOG:?}" "${GUEST:?}"

readonly HOOK=/usr/libexec/container-vtpm/vtpm-hook
readonly STATES=/var/lib/container-vtpm/states
readonly MASTER_KEY=/var/lib/container-vtpm/keys/master.key
readonly LEASES=/run/container-vtpm
readonly BUNDLES=$WORK/bundles

# shellcheck source=snapshot.sh
. "$GUEST/snapshot.sh"
# shellcheck source=host-tpm.sh
. "$GUEST/host-tpm.sh"

# --- assertions ---

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

expect_equal() { # WHAT EXPECTED ACTUAL
    [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
}

expect_different() { # WHAT ONE OTHER
    # What a failed command has printed is different from everything.
    [[ -n $2 && -n $3 ]] || fail "$1: expected two values, got '$2' and '$3'"
    [[ $2 != "$3" ]] || fail "$1: both are '$2'"
}

expect_match() { # WHAT REGEX TEXT
    [[ $3 =~ $2 ]] || fail "$1: expected something like '$2', got '$3'"
}

expect_failure() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then
        fail "$what: expected a failure"
    fi
}

# Prints the commands that a document has below a heading, as they stand there.
commands_of() { # FILE HEADING
    local commands
    commands=$(awk -v heading="$2" '
        /^##/ { inside = $0 ~ /^##+ / && substr($0, index($0, " ") + 1) == heading }
        inside && sub(/^    /, "")' "$DOCUMENTS/$1")
    [[ -n $commands ]] || fail "$1 has no commands below the heading '$2'"
    echo "$commands"
}

# A command that has to fail for a reason.
expect_error() { # WHAT REGEX COMMAND...
    local what=$1 regex=$2 error
    shift 2
    ! error=$("$@" 2>&1 </dev/null) || fail "$what: expected a failure"
    expect_match "$what" "$regex" "$error"
}

# Repeats a command until it succeeds. The deadline is only there to end a case that has gone wrong.
wait_until() { # WHAT COMMAND...
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "waited in vain for: $what"
        sleep 0.05
    done
}

# The same without a pause, for a moment that is soon over; the command should start no program.
wait_closely() { # WHAT COMMAND...
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "waited in vain for: $what"
    done
}

# How often a case repeats what it repeats: in an ordinary run as often as time allows, and in a soak run in earnest.
rounds() { # ORDINARY SOAK
    if [[ -n ${CONTAINER_VTPM_SOAK:-} ]]; then echo "$2"; else echo "$1"; fi
}

host_is() { # SNAPSHOT
    [[ $(host_snapshot) == "$1" ]]
}

# The host is again as it was: nothing of ours is left.
expect_host() { # SNAPSHOT
    local deadline=$((SECONDS + 20))
    until host_is "$1"; do
        if ((SECONDS > deadline)); then
            show_difference "$1" "$(host_snapshot)"
            fail "the host is not as it was"
        fi
        sleep 0.1
    done
}

expect_states() { # SNAPSHOT
    local now
    now=$(state_snapshot)
    [[ $now == "$1" ]] || {
        show_difference "$1" "$now"
        fail "the persistent state is not as it was"
    }
}

# --- the configuration ---

# Writes the configuration file from standard input.
#
# The two RSA keys of a new TPM take an emulated machine four seconds. Those cases have them that say WITH_KEYS=yes first.
configure() {
    mkdir -p /etc/container-vtpm
    cat >/etc/container-vtpm/config.toml
    [[ -n ${WITH_KEYS:-} ]] || printf '\n[manufacture]\nkeys = []\n' >>/etc/container-vtpm/config.toml
    chmod 0644 /etc/container-vtpm/config.toml
}
[[ -n ${WITH_KEYS:-} || -e /etc/container-vtpm/config.toml ]] || configure </dev/null

# --- containers ---

runtime() {
    "$RUNTIME" --root "$WORK/$RUNTIME" "$@"
}

# Makes a bundle whose container sleeps, from the runtimes' own default configuration, with the hooks as they are
# delivered. Further arguments are programs for jq that change the configuration.
container_bundle() { # ID [JQ]...
    local bundle=$BUNDLES/$1 program label=''
    mkdir -p "$bundle"/{rootfs,upper,work}
    # The lower files have no labels. An engine gives a container's files this one.
    [[ ! -e /sys/fs/selinux/enforce ]] || label=',context="system_u:object_r:container_file_t:s0"'
    mount -t overlay "tests-$1" "$bundle/rootfs" \
        -o "lowerdir=$ROOTFS,upperdir=$bundle/upper,workdir=$bundle/work$label"
    # Once for each case: what a runtime takes for it is most of what a bundle takes.
    [[ -e $BUNDLES/spec/config.json ]] || (mkdir -p "$BUNDLES/spec" && cd "$BUNDLES/spec" && runc spec)
    cp "$BUNDLES/spec/config.json" "$bundle/"
    program='
        .process.terminal = false
        | .process.args = ["sleep", "infinity"]
        | .process.env += ["TPM2TOOLS_TCTI=device:/dev/tpmrm0", "PYTHONDONTWRITEBYTECODE=1"]
        | .root = {path: "rootfs", readonly: false}
        | .linux.cgroupsPath = "/container-vtpm-tests/" + $id
        | .hooks = $fragment[0].hooks'
    program+=$(printf ' | %s' "${@:2}")
    container_edit "$1" "${program% | }" --slurpfile fragment "$HOOKS/oci-bundle.json"
}

container_edit() { # ID JQ [JQ-ARGUMENT]...
    local config=$BUNDLES/$1/config.json
    jq --arg id "$1" "${@:2}" <"$config" >"$config.new"
    mv "$config.new" "$config"
}

container_hooks() { # ID FILE
    container_edit "$1" '.hooks = $fragment[0].hooks' --slurpfile fragment "$2"
}

without_hooks='del(.hooks)'
with_mknod='.process.capabilities |= map_values(. + ["CAP_MKNOD"])'
in_user_namespace='.linux.namespaces += [{type: "user"}]
    | .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
    | .linux.gidMappings = [{containerID: 0, hostID: 200000, size: 65536}]'
readonly without_hooks with_mknod in_user_namespace

# For `container_bundle`: the PID namespace of the process.
sharing_pids_of() { # PID
    echo ".linux.namespaces |= map(if .type == \"pid\" then .path = \"/proc/$1/ns/pid\" else . end)"
}

# Puts a fixture between runtime and hook that records, for each stage, the hook's standard input, its standard error
# and its exit status in BUNDLE/hook.<stage>.{state,error,status}.
container_wrap_hooks() { # ID
    cat >"$BUNDLES/$1/wrapper" <<END
#!/bin/bash
record=$BUNDLES/$1/hook.\$1
rm -f "\$record".*
cat >"\$record.state"
$HOOK "\$1" <"\$record.state" 2>"\$record.error"
status=\$?
echo "\$status" >"\$record.status"
exit "\$status"
END
    chmod +x "$BUNDLES/$1/wrapper"
    container_edit "$1" '.hooks |= map_values(map(if .path == $hook then .path = $wrapper else . end))' \
        --arg hook "$HOOK" --arg wrapper "$BUNDLES/$1/wrapper"
}

# Puts a script of the case's own in front of the hook. It finds the container's root in $rootfs and its init in $pid.
container_hook_first() { # ID SCRIPT
    local path=$BUNDLES/$1/first
    printf '#!/bin/bash\nset -e\nrootfs=%q\npid=$(jq .pid)\n%s\n' "$BUNDLES/$1/rootfs" "$2" >"$path"
    chmod +x "$path"
    container_edit "$1" '.hooks.createRuntime |= [{path: $path, env: .[0].env}] + .' --arg path "$path"
}

container_set_command() { # ID COMMAND...
    container_edit "$1" '.process.args = $ARGS.positional' --args -- "${@:2}"
}

# Runs a command as a container's init, to its end, with `run` as a person would.
container_run() { # ID COMMAND...
    [[ -d $BUNDLES/$1 ]] || container_bundle "$1"
    container_set_command "$@"
    runtime run --bundle "$BUNDLES/$1" "$1" </dev/null
}

# Creates a container; its own output and the runtime's go to BUNDLE/output.
container_create() { # ID
    [[ -d $BUNDLES/$1 ]] || container_bundle "$1"
    runtime create --bundle "$BUNDLES/$1" "$1" </dev/null >"$BUNDLES/$1/output" 2>&1
}

# The same in the background; the runtime's process is $foreground.
container_run_in_background() { # ID COMMAND...
    [[ -d $BUNDLES/$1 ]] || container_bundle "$1"
    container_set_command "$@"
    "$RUNTIME" --root "$WORK/$RUNTIME" run --bundle "$BUNDLES/$1" "$1" </dev/null >"$BUNDLES/$1/output" 2>&1 &
    foreground=$!
    wait_until "the container $1 to run" container_exec "$1" true
}

# Starts to create a container; the runtime's process is $creator.
container_create_in_background() { # ID
    "$RUNTIME" --root "$WORK/$RUNTIME" create --bundle "$BUNDLES/$1" "$1" </dev/null >"$BUNDLES/$1/output" 2>&1 &
    creator=$!
}

# The shell may have reaped it already: it keeps the status for `wait`.
creator_has_ended() {
    local words
    ! { read -r -a words <"/proc/$creator/stat"; } 2>/dev/null || [[ ${words[2]} == Z ]]
}

# Creates and starts a container that stays, with `create` and `start` as an engine does.
container_start() { # ID [COMMAND...]
    [[ -d $BUNDLES/$1 ]] || container_bundle "$1"
    (($# == 1)) || container_set_command "$@"
    container_create "$1" || {
        cat "$BUNDLES/$1/output" >&2
        fail "cannot create the container $1"
    }
    runtime start "$1"
}

container_exec() { # ID COMMAND...
    runtime exec "$@" </dev/null
}

# A process that stays, of which its starter knows nothing more; prints its PID.
container_exec_in_background() { # ID COMMAND...
    runtime exec --detach --pid-file "$BUNDLES/$1/pid" "$@" </dev/null >/dev/null 2>&1
    cat "$BUNDLES/$1/pid"
}

container_group() { # ID
    echo "/sys/fs/cgroup/container-vtpm-tests/$1"
}

# As a runtime's `exec` would start it that had found the container before it ended: in its cgroup and its mount
# namespace, which is a descriptor of this shell's.
exec_late() { # ID DESCRIPTOR COMMAND...
    bash -c 'echo $$ >"$1/cgroup.procs"; exec nsenter --mount="/proc/self/fd/$2" "${@:3}"' - "$(container_group "$1")" "${@:2}"
}

container_shell() { # ID SCRIPT
    container_exec "$1" bash -euo pipefail -c "$2"
}

container_pid() { # ID
    [[ $(runtime state "$1") =~ \"pid\":\ *([0-9]+) ]] || fail "the runtime tells no PID of $1"
    echo "${BASH_REMATCH[1]}"
}

# Kills what is in the container's cgroup: its init, also one that the runtime has not let go yet.
container_kill() { # ID
    local group=/sys/fs/cgroup/container-vtpm-tests/$1 pid
    [[ -d $group ]] || return 0
    while read -r pid; do
        kill -KILL "$pid" 2>/dev/null || true
    done <"$group/cgroup.procs"
}

# Without jq, which takes as long to start as the runtime.
container_is_stopped() { # ID
    [[ $(runtime state "$1") =~ \"status\":\ *\"stopped\" ]]
}

# Kills the container's init and deletes the container, as an engine does.
container_stop() { # ID
    runtime kill "$1" KILL
    wait_until "the container $1 to stop" container_is_stopped "$1"
    runtime delete "$1"
}

# --- the hook by hand ---

state_json() { # ID PID [ANNOTATIONS-JSON]
    jq --null-input --arg id "$1" --argjson pid "$2" --arg bundle "$BUNDLES/$1" --argjson annotations "${3:-{\}}" \
        '{ociVersion: "1.0.2", id: $id, status: "creating", pid: $pid, bundle: $bundle, annotations: $annotations}'
}

# Leaves the exit status in HOOK_STATUS, standard error in HOOK_ERROR.
hook() { # STAGE STATE
    HOOK_STATUS=0
    HOOK_ERROR=$("$HOOK" "$1" 2>&1 >/dev/null <<<"$2") || HOOK_STATUS=$?
}

# The hook's way to refuse: one line that says what and why.
expect_refusal() { # WHAT REGEX STATUS ERROR
    expect_equal "$1: the hook's exit status (it said: $4)" 1 "$3"
    expect_equal "$1: lines that the hook printed ($4)" 1 "$(grep --count '' <<<"$4")"
    expect_match "$1: the hook's error" "^vtpm-hook: cannot .*$2" "$4"
}

# A container that must not come to be, with its hooks wrapped: the hook's refusal, also in the runtime's own words.
expect_creation_refused() { # ID REGEX
    local record=$BUNDLES/$1/hook.createRuntime
    expect_failure "$1: creation" container_create "$1"
    [[ -f $record.status ]] || {
        cat "$BUNDLES/$1/output" >&2
        fail "$1: the hook was not called"
    }
    expect_refusal "$1" "$2" "$(<"$record.status")" "$(<"$record.error")"
}

# --- what the programs say ---

lease_field() { # ID NAME
    local leases
    leases=$(vtpmctl list --json)
    jq --raw-output --arg id "$1" --arg name "$2" '
        map(select(.containerID == $id)) | if length == 1 then .[0][$name] else error("no single lease") end
        | if . == null then error("no field " + $name) else . end' \
        <<<"$leases" || fail "vtpmctl list --json has no single lease of $1 with $2: $leases"
}

# A process that nobody has waited for yet is gone too: it has no program any more.
process_is_gone() { # PID
    ! readlink "/proc/$1/exe"
}

# Moments of a creation, for `wait_closely`. The first leaves what it finds in `processes`, one for each name. The hook's child
# that asks the device cgroup has the hook's name, and is none.
processes_run() { # NAME...
    local file name found=' ' words
    processes=()
    for file in /proc/[0-9]*/comm; do
        if { read -r name <"$file"; } 2>/dev/null && [[ " $* " == *" $name "* && $found != *" $name "* ]] &&
            { mapfile -d '' -t words <"${file%comm}cmdline"; } 2>/dev/null && [[ ${words[1]-} != probe ]]; then
            processes+=("${file//[^0-9]/}")
            found+="$name "
        fi
    done
    ((${#processes[@]} == $#))
}

hook_runs() { processes_run vtpm-hook; }
supervisor_runs() { processes_run vtpm-supervisor; }
# The supervisor has its orders, and works on the state.
lease_begins() { compgen -G "$LEASES/*/" >/dev/null; }
tpms_at_first=$(echo /sys/class/tpm/*)
tpm_exists() {
    local tpms=(/sys/class/tpm/*)
    [[ ${tpms[*]} != "$tpms_at_first" ]]
}
lease_exists() { compgen -G "$LEASES/*/lease" >/dev/null; }

device_number() { # CLASS NUMBER
    cat "/sys/class/$1/$1$2/dev"
}

# --- what a container's TPM is ---

# The fingerprint of the endorsement key: it is derived from the TPM's own seed, and no two TPMs have the same.
endorsement_key() { # ID
    container_shell "$1" '
        tpm2_createek -c /tmp/ek.ctx -G ecc -u /tmp/ek.pub >/dev/null
        read -r sum _ < <(sha256sum /tmp/ek.pub)
        echo "$sum"'
}

pcr() { # ID INDEX
    container_shell "$1" "tpm2_pcrread sha256:$2 | sed -n 's/^ *[0-9]* *: 0x//p'"
}

readonly zero_pcr=0000000000000000000000000000000000000000000000000000000000000000

# Writes one raw TPM command in hex to a device and prints the answer in hex.
raw_command() { # ID DEVICE HEX
    container_exec "$1" python3 -c '
import os, sys
tpm = os.open(sys.argv[1], os.O_RDWR)
os.write(tpm, bytes.fromhex(sys.argv[2]))
print(os.read(tpm, 4096).hex())' "$2" "$3"
}

# Tries to open a file for reading and writing; prints `opened` or the name of the error.
readonly print_open='
import errno, os, sys
try:
    os.open(sys.argv[1], os.O_RDWR)
    print("opened")
except OSError as error:
    print(errno.errorcode[error.errno])'
try_open() { # ID PATH
    container_exec "$1" python3 -c "$print_open" "$2"
}

# Makes a node in the container itself and tries to open it.
try_own_node() { # ID MAJOR:MINOR
    container_exec "$1" python3 -c '
import os, stat, sys
if os.path.exists("/own-node"):
    os.remove("/own-node")
os.mknod("/own-node", stat.S_IFCHR | 0o600, os.makedev(*map(int, sys.argv[2].split(":"))))'"$print_open" /own-node "$2"
}

# TPM2_GetRandom of 8 bytes, and TPM_RC_FAILURE, for `raw_command`.
readonly get_random=80010000000c0000017b0008 rc_failure=80010000000a00000101

# --- the end of every case ---

# Removes what the case made itself, never what the programs under test have left.
end_case() {
    local status=$? id target
    set +e
    for id in $(runtime list --quiet 2>/dev/null); do
        runtime delete --force "$id" >/dev/null 2>&1
    done
    awk '{ print $5 }' /proc/self/mountinfo | grep -E "^($WORK|/usr/libexec/container-vtpm)/" | tac | while read -r target; do
        umount --lazy "$target"
    done
    find /sys/fs/cgroup -depth -type d -path '*/container-vtpm-tests*' -exec rmdir {} + 2>/dev/null
    exit "$status"
}
trap end_case EXIT
