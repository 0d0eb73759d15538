# The Debian package on a host that runs: installed, upgraded to a rebuilt one while a container has a TPM, refused to go
# before the container, removed and purged. States stay, and nothing else. Tests/package tries what takes no kernel.
# Guests: debian-13
# Runtimes: runc
# The configuration is the package's.
WITH_KEYS=yes
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"
. "$GUEST/apparmor.sh"
ENGINE=podman

readonly stage=${FIXTURES%/programs/fixtures}
readonly package=$(echo "$stage"/programs/packages/*.deb)
readonly rebuilt=/var/tmp/container-vtpm-rebuilt

# What the tests themselves have installed goes for as long as this case.
put_back() {
    local status=$?
    rm -rf "$rebuilt"{,.deb}
    dpkg --purge container-vtpm >/dev/null 2>&1 || true
    cp --recursive --remove-destination "$stage/programs/usr/." /usr/
    cp --recursive "$stage/programs/etc/." /etc/
    # As `inside` has it.
    rm --force /usr/share/containers/oci/hooks.d/container-vtpm-*.json
    apparmor_load
    (exit "$status")
    end_engine_case
}

take_away() {
    apparmor_parser --remove "${OUR_PROFILES[@]/#//etc/apparmor.d/}"
    (cd "$stage/programs" && find usr etc ! -type d -printf '/%p\n') | xargs rm --force
    # What the other cases' installation has made, and a purge takes away.
    rm -rf --one-file-system /run/container-vtpm
    for profile in "${OUR_PROFILES[@]}"; do rm -f /var/cache/apparmor/*/"$profile"; done
    # dpkg takes folders away that are empty.
    find /usr/libexec/container-vtpm /usr/share/{container-vtpm,containers} /usr/lib/{modules-load,tmpfiles}.d \
        /etc/apparmor.d/abstractions/container-vtpm /etc/cdi -depth -type d -empty -delete
}

# Where the package or the product could leave something; dpkg and the engines keep records of their own.
traces() {
    find /etc /usr/bin /usr/libexec /usr/lib/{systemd,tmpfiles.d,modules-load.d} /usr/share/{container-vtpm,containers,doc} \
        /var/cache /var/lib /run/container-vtpm -xdev \( -path /var/lib/dpkg -o -path /var/lib/containers -o -path /var/lib/cni \
        -o -path /var/lib/docker -o -path /var/lib/containerd -o -path /var/lib/container-vtpm \) -prune -o -print 2>/dev/null |
        sort
    grep --extended-regexp '^vtpm' "$LOADED_PROFILES" || true
}

program_of() { readlink "/proc/$1/exe"; }

engine_import
trap put_back EXIT
take_away
before=$(traces)
host=$(host_snapshot)

dpkg --install "$package" >"$WORK/output" 2>&1 || fail "it cannot be installed: $(<"$WORK/output")"
expect_equal "profiles in force" "${#OUR_PROFILES[@]}" "$(grep --count '^vtpm.*(enforce)$' "$LOADED_PROFILES")"
expect_equal "the slice's description" 'TPMs of containers' "$(systemctl show --property=Description --value vtpm.slice)"
expect_equal "the timer" disabled "$(systemctl is-enabled container-vtpm-prune.timer || true)"
expect_equal "the folder of leases" 'root 700' "$(stat --format='%U %a' "$LEASES")"
# A command on the host, with tpm2-tools of the containers' root filesystem.
expect_match "random bytes for a command" '^[0-9a-f]{16}$' "$(vtpmctl run -- bash -c 'mount --rbind /dev "$0/dev" &&
    exec chroot "$0" env TPM2TOOLS_TCTI=device:/dev/tpmrm0 tpm2_getrandom --hex 8' "$ROOTFS")"
expect_host "$host"
engine_start main
expect_tpm "with the package" main
key=$(engine_endorsement_key main)
supervisor=$(lease_field "$id" supervisorPID)
worker=$(lease_field "$id" workerPID)

dpkg-deb --raw-extract "$package" "$rebuilt"
sed --in-place 's/^Version: .*/&+rebuilt/' "$rebuilt/DEBIAN/control"
dpkg-deb -Znone --build "$rebuilt" "$rebuilt.deb" >/dev/null
dpkg --install "$rebuilt.deb" >"$WORK/output" 2>&1 || fail "it cannot be upgraded: $(<"$WORK/output")"
expect_match "the version after the upgrade" '\+rebuilt$' "$(dpkg-query --show --showformat='${Version}' container-vtpm)"
for process in "$supervisor" "$worker"; do
    expect_match "the program of process $process, which is older" ' \(deleted\)$' "$(program_of "$process")"
    expect_match "its profile" '^vtpm-(supervisor|worker) \(enforce\)$' "$(tr --delete '\0' <"/proc/$process/attr/current")"
done
expect_tpm "after the upgrade" main
expect_equal "the supervisor after the upgrade" "$supervisor" "$(lease_field "$id" supervisorPID)"

expect_error "its removal under a container" "1 of this host's containers have TPMs" dpkg --remove container-vtpm
expect_tpm "after a refused removal" main

# The new hook ends what the old one began, and begins anew what that had.
podman stop --time 0 main >/dev/null
wait_until "the older vTPM to end with its container" vtpms_are 0
podman start main >/dev/null
expect_equal "the endorsement key after the upgrade" "$key" "$(engine_endorsement_key main)"
expect_equal "the program of the new supervisor" /usr/libexec/container-vtpm/vtpm-supervisor \
    "$(program_of "$(lease_field "$id" supervisorPID)")"
podman rm --force --time 0 main >/dev/null
expect_host "$host"

states=$(state_snapshot)
expect_match "the states" 'states/.*/state ' "$states"
mkdir /var/lib/container-vtpm/engines
touch /var/lib/container-vtpm/metrics
dpkg --remove container-vtpm >"$WORK/output" 2>&1 || fail "it cannot be removed: $(<"$WORK/output")"
dpkg --purge container-vtpm >"$WORK/output" 2>&1 || fail "it cannot be purged: $(<"$WORK/output")"
expect_match "what a purge says" 'stay in /var/lib/container-vtpm' "$(<"$WORK/output")"
expect_states "$states"
after=$(traces)
[[ $after == "$before" ]] || {
    show_difference "$before" "$after"
    fail "the package has left something"
}
expect_equal "units of ours" '' "$(units_of_ours)"
