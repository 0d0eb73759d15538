# Containers that start at once all come to be, each with a TPM of its own. As many of their hooks work at once as there are
# processors: the kernel gives a new TPM little time, and dozens on a busy host would run out of it together.
# Runtimes: runc
. "$GUEST/lib.sh"

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

# The kernel's timeouts pass with many at once on an emulated machine, where TPMs have not tested themselves before.
count=$(rounds 8 32)
creators=()
# Dozens take longer there than the minute that a hook usually has.
longer=()
((count <= 8)) || longer=('.hooks.createRuntime[].timeout = 600')
for ((number = 1; number <= count; number++)); do container_bundle "many-$number" "${longer[@]}"; done
for ((number = 1; number <= count; number++)); do
    container_create "many-$number" &
    creators+=($!)
done
for ((number = 1; number <= count; number++)); do
    wait "${creators[number - 1]}" || fail "cannot create container $number: $(<"$BUNDLES/many-$number/output")"
done
expect_equal "TPMs" $((count + 1)) "$(vtpmctl list --json | jq '[.[].tpmNumber] | unique | length')"
