# Runtime wrapper, the process that prepares the TPM, supervisor and worker are killed at each moment of a preparation: the
# container does not come to be, nothing is left, and the bundle has its own config.json again.
# Guests: debian-12 debian-13
# Runtimes: runc
. "$GUEST/lib.sh"

readonly WRAPPER=/usr/libexec/container-vtpm/vtpm-runtime REAL=/usr/local/sbin/runc BACKUP=.config.json.container-vtpm
configure <<<"[runtime]
path = \"$REAL\""
# A fixture: the real runtime, which waits where the case wants to meet it.
cat >"$REAL" <<END
#!/bin/sh
if [ "\$3" = create ]; then
    : >$WORK/at-runtime
    while [ ! -e $WORK/go ]; do sleep 0.02; done
fi
exec $(command -v runc) "\$@"
END
chmod 0755 "$REAL"

container_bundle main "$without_hooks"
original=$(sha256sum <"$BUNDLES/main/config.json")
# The master key, and what a first creation leaves for good.
: >"$WORK/go"
"$WRAPPER" --root "$WORK/runc" run --detach --bundle "$BUNDLES/main" main </dev/null >/dev/null 2>&1
container_stop main
vtpmctl state purge --yes main >/dev/null
host=$(host_snapshot)

own_config() { [[ $(sha256sum <"$BUNDLES/main/config.json") == "$original" && ! -e $BUNDLES/main/$BACKUP ]]; }
at_runtime() { [[ -e $WORK/at-runtime ]]; }
exchanged() { [[ -e $BUNDLES/main/$BACKUP ]]; }
nothing_runs() { ! hook_runs && ! supervisor_runs; }

kill_at() { # MOMENT VICTIM
    echo "moment: $1, victim: $2"
    rm -f "$WORK/go" "$WORK/at-runtime"
    "$WRAPPER" --root "$WORK/runc" create --bundle "$BUNDLES/main" main </dev/null >"$WORK/output" 2>&1 &
    creator=$!
    wait_closely "$1" "$1"
    case $2 in
        runtime) kill -KILL "$creator" ;;
        *) processes_run "vtpm-$2" && kill -KILL "${processes[@]}" ;;
    esac
    : >"$WORK/go"
    ! wait "$creator" || fail "$1, $2: the container was created: $(<"$WORK/output")"
    ! runtime state main >/dev/null 2>&1 || runtime delete --force main
    wait_until "our processes to end" nothing_runs
    own_config || fail "$1, $2: config.json is not its own again"
    expect_host "$host"
    expect_equal "$1, $2: states that are left" '' "$(ls "$STATES")"
}

for moment in hook_runs supervisor_runs lease_begins tpm_exists lease_exists exchanged at_runtime; do
    kill_at "$moment" runtime
done
for moment in lease_begins tpm_exists lease_exists exchanged at_runtime; do
    kill_at "$moment" supervisor
done
for victim in worker hook; do
    for moment in tpm_exists exchanged at_runtime; do kill_at "$moment" "$victim"; done
done

# The hook that takes the vTPM over, as soon as the runtime has called it; it may be killed too late.
adopting_hook() {
    local file name words
    for file in /proc/[0-9]*/comm; do
        if { read -r name <"$file"; } 2>/dev/null && [[ $name == vtpm-hook ]] &&
            { mapfile -d '' -t words <"${file%comm}cmdline"; } 2>/dev/null && [[ ${words[1]-} == createRuntime ]]; then
            process=${file//[^0-9]/}
            return
        fi
    done
    creator_has_ended
}
kill_adopting() {
    rm -f "$WORK/at-runtime"
    "$WRAPPER" --root "$WORK/runc" create --bundle "$BUNDLES/main" main </dev/null >"$WORK/output" 2>&1 &
    creator=$! process=''
    wait_closely "the adopting hook" adopting_hook
    [[ -z $process ]] || kill -KILL "$process" 2>/dev/null || true
    status=0
    wait "$creator" || status=$?
    ((status != 0)) || container_stop main 2>/dev/null || true
    ! runtime state main >/dev/null 2>&1 || runtime delete --force main
    wait_until "our processes to end" nothing_runs
    own_config || fail "the adopting hook: config.json is not its own again"
    expect_host "$host"
    ((status != 0)) || { vtpmctl state purge --yes main >/dev/null; return 1; }
    expect_equal "the adopting hook: states that are left" '' "$(ls "$STATES")"
}
echo "moment: adoption, victim: hook"
for ((attempt = 1; ; attempt++)); do
    ! kill_adopting || break
    ((attempt < 30)) || fail "the adopting hook was always killed too late"
done

# An earlier container of this ID has its poststop while the runtime has not read config.json yet: it stays, as it must.
begin_creation() { # ID
    rm -f "$WORK/go" "$WORK/at-runtime"
    "$WRAPPER" --root "$WORK/runc" create --bundle "$BUNDLES/main" "$1" </dev/null >"$WORK/output.$1" 2>&1 &
    creator=$!
    wait_until "the runtime of $1" at_runtime
}
begin_creation main
"$HOOK" poststop <<<"$(state_json main 0)"
exchanged || fail "another container's poststop has put config.json back before the runtime has read it"
: >"$WORK/go"
wait "$creator" || fail "cannot create the container: $(<"$WORK/output.main")"
container_stop main 2>/dev/null || runtime delete --force main
wait_until "our processes to end" nothing_runs
own_config || fail "config.json is not put back after that"

# A second container from one bundle waits; if the first's preparing process is killed, it is refused and leaves the file.
begin_creation main
"$WRAPPER" --root "$WORK/runc" create --bundle "$BUNDLES/main" second </dev/null >"$WORK/output.second" 2>&1 &
second=$!
wait_until "the second's preparing process" pgrep --full 'prepare create second'
: >"$WORK/go"
wait "$creator" || fail "cannot create the first: $(<"$WORK/output.main")"
wait "$second" || fail "cannot create the second: $(<"$WORK/output.second")"
runtime delete --force main
runtime delete --force second
wait_until "our processes to end" nothing_runs
vtpmctl state purge --yes second >/dev/null
begin_creation main
"$WRAPPER" --root "$WORK/runc" create --bundle "$BUNDLES/main" second </dev/null >"$WORK/output.second" 2>&1 &
second=$!
wait_until "the second's preparing process" pgrep --full 'prepare create second'
pkill -KILL --full 'vtpm-hook prepare create'
! wait "$second" || fail "the second was created"
exchanged || fail "the second has put config.json back before the first's runtime has read it"
: >"$WORK/go"
! wait "$creator" || fail "the first was created without its TPM"
! runtime state main >/dev/null 2>&1 || runtime delete --force main
wait_until "our processes to end" nothing_runs
own_config || fail "config.json is not put back after both were killed"

# A bundle behind a link, as the working directory: runc calls it by that name.
container_bundle linked "$without_hooks" ".root.path = \"$BUNDLES/linked/rootfs\""
ln -s "$BUNDLES/linked" "$WORK/link"
: >"$WORK/go"
(cd "$WORK/link" && exec "$WRAPPER" --root "$WORK/runc" create linked </dev/null >"$WORK/output" 2>&1) ||
    fail "cannot create a container from a bundle behind a link: $(<"$WORK/output")"
expect_equal "the bundle as the runtime calls it" "$WORK/link" "$(runtime state linked | jq --raw-output .bundle)"
runtime delete --force linked
rm "$WORK/link"
wait_until "our processes to end" nothing_runs

# A restored bundle starts with the plain runtime, without a TPM.
runtime run --detach --bundle "$BUNDLES/main" main </dev/null >/dev/null 2>&1
expect_failure "the TPM with the plain runtime" container_exec main test -e /dev/tpmrm0
container_stop main

# A power failure leaves the file of one creation: the plain runtime calls the hook, which refuses and puts it back.
rm -f "$WORK/go" "$WORK/at-runtime"
"$WRAPPER" --root "$WORK/runc" create --bundle "$BUNDLES/main" main </dev/null >/dev/null 2>&1 &
wait_until "the runtime" at_runtime
cp -a "$BUNDLES/main/config.json" "$WORK/left"
: >"$WORK/go"
wait "$!"
container_stop main 2>/dev/null || runtime delete --force main
wait_until "our processes to end" nothing_runs
cp -a "$BUNDLES/main/config.json" "$BUNDLES/main/$BACKUP"
cp -a "$WORK/left" "$BUNDLES/main/config.json"
expect_error "the plain runtime with the file that was left" 'config.json names a vTPM that is gone' \
    "$(command -v runc)" --root "$WORK/runc" create --bundle "$BUNDLES/main" main
own_config || fail "the hook has not put config.json back"
rm "$REAL"
