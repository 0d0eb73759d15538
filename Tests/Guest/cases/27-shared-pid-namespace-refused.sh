# A container without a PID namespace of its own is refused where its processes could get out of its control group: by a
# capability, by a mount of control groups above its own, or by the host's processes.
# Runtimes: runc
# Guests: debian-13
. "$GUEST/lib.sh"

# The kernel's own barrier, which whoever mounts the hierarchy once more takes away.
with_barrier() { mount -o remount,nsdelegate /sys/fs/cgroup; }
without_barrier() {
    mkdir -p "$WORK/cgroup2"
    mount -t cgroup2 none "$WORK/cgroup2"
    umount "$WORK/cgroup2"
}
has_barrier() { grep --quiet ' - cgroup2 .*nsdelegate' /proc/self/mountinfo; }
! has_barrier || trap 'status=$?; with_barrier; (exit "$status"); end_case' EXIT

with_capability() { # NAME
    echo ".process.capabilities |= map_values(. + [\"CAP_$1\"])"
}
without_cgroup_namespace='.linux.namespaces |= map(select(.type != "cgroup"))'
with_host_pids='.linux.namespaces |= map(select(.type != "pid"))'
with_cgroups='.mounts += [{destination: "/groups", type: "bind", source: "/sys/fs/cgroup", options: ["rbind", "ro"]}]'
with_host_proc='.mounts += [{destination: "/hostproc", type: "bind", source: "/proc", options: ["rbind", "ro"]}]'

container_bundle pause "$without_hooks"
container_start pause
sharing=$(sharing_pids_of "$(container_pid pause)")
states=$(state_snapshot)

refused() { # REGEX JQ...
    local before
    container_bundle refused "${@:2}"
    container_wrap_hooks refused
    before=$(host_snapshot)
    expect_creation_refused refused "it shares a PID namespace, and $1.*leave the hook out"
    cat "$BUNDLES/refused/hook.createRuntime.error"
    expect_host "$before"
    expect_states "$states"
    umount "$BUNDLES/refused/rootfs"
    rm -rf "${BUNDLES:?}/refused"
}
for capability in SYS_ADMIN SYS_PTRACE DAC_READ_SEARCH; do
    refused "with CAP_$capability its processes could leave" "$sharing" "$(with_capability "$capability")"
done
refused 'it sees control groups above its own at .*/groups,' "$sharing" "$with_cgroups"
refused 'it has no cgroup namespace of its own' "$sharing" "$without_cgroup_namespace"
refused "through the host's processes" "$with_host_pids"
refused "through the host's processes" "$with_host_pids" "$(with_capability SETUID)"
refused "through the host's processes" "$sharing" "$with_host_proc" "$(with_capability SETUID)"

# The same with a PID namespace of its own is no concern.
container_bundle alone "$with_cgroups" "$with_host_proc" "$(with_capability SETUID)"
container_start alone
container_exec alone tpm2_getrandom --hex 8
container_stop alone

# The ways out, tried: with no capability, and a read-only mount or the root of another process of the same user.
leave='
import ctypes, os, struct, sys
call = ctypes.CDLL(None, use_errno=True).syscall
try:
    group = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
except OSError as error:
    sys.exit("no directory: %s" % error)
here = open("/proc/self/cgroup").read()
flags, signal = 0x200000000, 17
arguments = ctypes.create_string_buffer(struct.pack("<11Q", flags, 0, 0, 0, signal, 0, 0, 0, 0, 0, group))
child = call(435, arguments, 88)
if child == 0:
    os._exit(0 if open("/proc/self/cgroup").read() == here else 7)
if child < 0:
    sys.exit("not started: %s" % os.strerror(ctypes.get_errno()))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))'
# The same, for a child that then tries to open the container's own TPM.
open_elsewhere='
import ctypes, errno, os, struct
call = ctypes.CDLL(None, use_errno=True).syscall
group = os.open("/proc/1/root/sys/fs/cgroup", os.O_RDONLY | os.O_DIRECTORY)
arguments = ctypes.create_string_buffer(struct.pack("<11Q", 0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, group))
child = call(435, arguments, 88)
if child == 0:
    try:
        os.open("/dev/tpmrm0", os.O_RDWR)
        print("opened", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
    os._exit(0)
os.waitpid(child, 0)'
container_bundle leaver "$without_hooks" "$sharing" "$with_cgroups" "$without_cgroup_namespace"
container_start leaver
left() { # ID DIRECTORY
    local status=0
    container_exec "$1" python3 -c "$leave" "$2" || status=$?
    expect_equal "a child that $1 starts outside, in $2" 7 "$status"
}
left leaver /groups
container_stop leaver

# What is not refused cannot get out: neither its own mount of control groups nor the pod's processes lead above.
expect_inside() { # ID
    container_exec "$1" tpm2_getrandom --hex 8
    # shellcheck disable=SC2016 # $$ is for the container
    expect_error "moving itself" 'Read-only file system' container_shell "$1" 'echo $$ >/sys/fs/cgroup/cgroup.procs'
}
for barrier in with without; do
    "${barrier}_barrier"
    container_bundle inside "$sharing"
    container_start inside
    expect_inside inside
    if [[ $barrier == with ]]; then
        expect_error "the pod's first container" 'not started: No such file' \
            container_exec inside python3 -c "$leave" /proc/1/root/sys/fs/cgroup
    else
        # It gets in there, and its own number is not allowed there.
        left inside /proc/1/root/sys/fs/cgroup
        expect_equal "its own TPM from there" EPERM "$(container_exec inside python3 -c "$open_elsewhere")"
    fi
    container_stop inside
    umount "$BUNDLES/inside/rootfs"
    rm -rf "${BUNDLES:?}/inside"
done

# A control group that the runtime has named after the container is the container's.
container_bundle nameless "$sharing" 'del(.linux.cgroupsPath)'
container_start nameless
expect_match "the control group" '/nameless$' "$(lease_field nameless containerCgroup)"
container_stop nameless
container_stop pause
