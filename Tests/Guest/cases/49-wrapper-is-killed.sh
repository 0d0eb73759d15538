# Runtime wrapper, the process that prepares the TPM, supervisor and worker are killed at each moment of a preparation: the
# container does not come to be, nothing is left, and the bundle has its own config.json again.
# Guests: debian-12
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
nothing_runs() { ! process_runs vtpm-hook && ! process_runs vtpm-supervisor; }

kill_at() { # MOMENT VICTIM
    echo "moment: $1, victim: $2"
    rm -f "$WORK/go" "$WORK/at-runtime"
    "$WRAPPER" --root "$WORK/runc" create --bundle "$BUNDLES/main" main </dev/null >"$WORK/output" 2>&1 &
    creator=$!
    wait_closely "$1" "$1"
    case $2 in
        runtime) kill -KILL "$creator" ;;
        *) process_runs "vtpm-$2" && kill -KILL "$process" ;;
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
