# The runtime wrapper: a bundle without hooks gets a TPM with `create` and with `run`, its config.json is its own again
# before the container starts, and the plain runtime starts the same bundle afterwards.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

readonly WRAPPER=/usr/libexec/container-vtpm/vtpm-runtime
configure <<<"[runtime]
path = \"$(command -v "$RUNTIME")\""

wrapper() { "$WRAPPER" --root "$WORK/$RUNTIME" "$@"; }

container_bundle main "$without_hooks"
host=$(host_snapshot)
original=$(sha256sum <"$BUNDLES/main/config.json") inode=$(stat --format '%i %U %a' "$BUNDLES/main/config.json")
expect_own_config() { # WHEN
    expect_equal "config.json $1" "$original" "$(sha256sum <"$BUNDLES/main/config.json")"
    expect_equal "the file config.json $1" "$inode" "$(stat --format '%i %U %a' "$BUNDLES/main/config.json")"
    expect_equal "the bundle $1" 'config.json rootfs upper work' "$(ls --almost-all "$BUNDLES/main" | xargs)"
}

wrapper create --bundle "$BUNDLES/main" main </dev/null >"$WORK/output" 2>&1 || fail "create: $(<"$WORK/output")"
expect_own_config "after create"
wrapper start main
key=$(endorsement_key main)
# No program of ours: the runtime itself has allowed the devices.
expect_equal "lines of the hook about a grant" 0 "$(grep --count 'replaced' "$SYSLOG" || true)"
container_exec main test ! -e /sys/class/tpm/tpm0
container_stop main
expect_host "$host"

wrapper run --bundle "$BUNDLES/main" main </dev/null >"$WORK/output" 2>&1 &
wait_until "the container to run" container_exec main true
expect_equal "the endorsement key with run" "$key" "$(endorsement_key main)"
expect_own_config "after run"
runtime kill main KILL
wait "$!" || true
expect_host "$host"

# What was there for one creation is gone.
runtime run --detach --bundle "$BUNDLES/main" main </dev/null >/dev/null 2>&1
expect_failure "the TPM with the plain runtime" container_exec main test -e /dev/tpmrm0
container_stop main
expect_host "$host"

# README.md's commands for a bundle.
mkdir --parents "$WORK/first/rootfs"
mount --bind "$ROOTFS" "$WORK/first/rootfs"
commands=$(commands_of README.md runc)
(cd "$WORK/first" && bash -euo pipefail -c "$commands") >"$WORK/output" 2>&1 </dev/null || fail "README.md, runc: $(<"$WORK/output")"
expect_match "the end of README.md, runc" '^[0-9a-f]{16}$' "$(tail --lines=1 "$WORK/output")"
umount "$WORK/first/rootfs"
expect_host "$host"
