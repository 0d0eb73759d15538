# Containers that start at once all come to be, each with a TPM of its own. As many of their hooks work at once as there are
# processors: the kernel gives a new TPM little time, and dozens on a busy host would run out of it together.
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/disk.sh"

hook_has_the_control_device() {
    local link
    hook_runs || return 1
    for link in "/proc/${processes[0]}/fd/"*; do
        [[ $(readlink "$link") != /dev/vtpmx ]] || return 0
    done
    return 1
}

# This loads the module that makes /dev/vtpmx.
container_start first
container_stop first

# Each takes a place, one of as many as there are processors, with a byte of /dev/vtpmx. Here all are taken:
# nothing of a vTPM exists before there is one, and a creation that gets none in its hook's time says why it failed.
all_places='
import fcntl, os, time
fcntl.lockf(os.open("/dev/vtpmx", os.O_RDWR), fcntl.LOCK_EX)
print("taken", flush=True)
time.sleep(1000)'
exec {taken}< <(exec setpriv --pdeathsig KILL python3 -c "$all_places")
others=$!
read -r -u "$taken" _
container_bundle short '.hooks.createRuntime[].timeout = 10'
container_wrap_hooks short
expect_creation_refused short 'start the vTPM: too many other containers are being created \(.*longer timeout'
container_bundle gone
container_wrap_hooks gone
container_create_in_background gone
wait_until "the hook to want its place" hook_has_the_control_device
container_kill gone
! wait "$creator" || fail "a container was created whose init was killed"
expect_match "gone: the hook's error" "the container's init ended" "$(<"$BUNDLES/gone/hook.createRuntime.error")"
container_bundle place
container_create_in_background place
wait_until "the hook to want its place" hook_has_the_control_device
sleep 2
! supervisor_runs || fail "a supervisor was started without a place"
kill "$others"
wait "$creator" || fail "cannot create the container: $(<"$BUNDLES/place/output")"

container_stop place
wait_until "all vTPMs to be gone" vtpms_are_gone
# From now on states are where each flush takes 20 ms.
disk_begin ext4 20

# The kernel's timeouts pass with many at once on an emulated machine, where TPMs have not tested themselves before.
count=$(rounds 8 150)
# It is the smaller one: with 150 of the other, the machine's memory is used up.
((count <= 8)) || RUNTIME=crun
# Dozens take longer there than the minute that a hook usually has.
longer=()
((count <= 8)) || longer=('.hooks[][].timeout = 600')
for ((number = 1; number <= count; number++)); do container_bundle "many-$number" "${longer[@]}"; done
all_at_once() { # COMMAND...
    local number jobs=() begin=$SECONDS
    for ((number = 1; number <= count; number++)); do
        "$@" "many-$number" &
        jobs+=($!)
    done
    for ((number = 1; number <= count; number++)); do
        wait "${jobs[number - 1]}" || fail "$1 many-$number: $(<"$BUNDLES/many-$number/output")"
    done
    echo "measured: $count at once, $1: $((SECONDS - begin)) s"
}
all_at_once container_create
expect_equal "TPMs" "$count" "$(vtpmctl list --json | jq '[.[].tpmNumber] | unique | length')"
stop() { runtime delete --force "$1" >"$BUNDLES/$1/output" 2>&1; }
all_at_once stop
wait_until "all vTPMs to be gone" vtpms_are_gone
# Each has recorded its stop, and is found again as it was left.
# What collects the log on an emulated machine is behind.
stops_are_logged() { (($(grep --count 'event=stopped container="many-' "$SYSLOG") == count)); }
wait_until "the log to tell of all stops" stops_are_logged
expect_equal "errors in the log" '' "$(grep 'many-.*could not' "$SYSLOG" || true)"
expect_equal "states that are complete" "$count" \
    "$(vtpmctl state list --json | jq '[.[] | select(.stateID | startswith("many-"))] | length')"
container_create many-1
container_exec many-1 tpm2_getrandom --hex 8
runtime delete --force many-1
wait_until "the last vTPM to be gone" vtpms_are_gone
disk_end
