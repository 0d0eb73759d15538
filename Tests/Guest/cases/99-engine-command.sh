# `vtpmctl engine`: docker, podman and CRI give a container a TPM after three commands, and `remove` puts each file back.
# Guests: debian-13
# Runtimes: runc
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

files() { find /etc/docker /etc/containers /etc/containerd -type f -exec sha256sum {} + | sort; }
for ENGINE in podman docker; do engine_import; done
cri_import
before=$(files)
ways() { vtpmctl engine show --json | jq --raw-output '.[] | select(.way == "runtime") | .engine' | sort | xargs; }
none=$(ways)
for name in docker 'podman --way runtime' containerd; do
    # shellcheck disable=SC2086 # its words are meant
    vtpmctl engine install $name >"$WORK/output" || fail "engine install $name: $(<"$WORK/output")"
    # shellcheck disable=SC2086
    expect_match "a second install of $name" 'nothing|already' "$(vtpmctl engine install $name)"
done
expect_different "the engines' files" "$before" "$(files)"
expect_equal "the engines that are shown" "$(printf '%s\n' $none containerd docker podman | sort | xargs)" "$(ways)"
# Engines of other users read it too.
expect_equal "the mode of a new folder" 755 "$(stat --format %a /etc/containers/containers.conf.d)"
reload_docker
systemctl restart containerd
wait_until "containerd" ctr version
host=$(host_snapshot)

# What README.md promises for the first five minutes, by the commands that it has, which name no runtime.
first_tpm() { # HEADING
    local commands
    commands=$(commands_of README.md "$1")
    bash -euo pipefail -c "$commands" >"$WORK/output" 2>&1 </dev/null || fail "README.md, $1: $(<"$WORK/output")"
}
# This machine has no network: the image stands in for Debian's, and its apt-get for one that finds tpm2-tools there already.
stand_in_for_debian() {
    cp /srv/tests/image.tar "$WORK/debian.tar"
    printf '#!/bin/sh\necho "apt-get $*"\n' | install -D -m 0755 /dev/stdin "$WORK/debian/usr/bin/apt-get"
    tar --directory "$WORK/debian" --append --file "$WORK/debian.tar" ./usr/bin/apt-get
    docker import "$WORK/debian.tar" debian:13 >/dev/null
    podman import --quiet "$WORK/debian.tar" docker.io/library/debian:13 >/dev/null
}
stand_in_for_debian
commands=$(commands_of README.md 'Five minutes to the first TPM')
for engine in docker podman; do
    bash -euo pipefail -c "${commands/docker build/$engine build}" >"$WORK/output" 2>&1 </dev/null ||
        fail "README.md, the image by $engine: $(<"$WORK/output")"
    expect_match "what $engine builds" 'apt-get install --yes tpm2-tools' "$(<"$WORK/output")"
done
for heading in docker podman containerd; do
    first_tpm "$heading"
    expect_match "the end of README.md, $heading" '^[0-9a-f]{16}$' "$(tail --lines=1 "$WORK/output")"
done
# Without runc, crun is what the wrapper becomes.
mv "$(command -v runc)" "$WORK/runc"
first_tpm podman
expect_match "the end of README.md, podman, without runc" '^[0-9a-f]{16}$' "$(tail --lines=1 "$WORK/output")"
mv "$WORK/runc" /usr/sbin/runc
# What asks for a TPM does not start without the device's file, or without the hook's program.
mkdir -p /etc/cdi && mv /etc/cdi "$WORK/cdi"
expect_error "podman without the device" 'unresolvable CDI devices' podman run --rm --device "$TPM_DEVICE" "$IMAGE" true
mv "$WORK/cdi" /etc/cdi
mv /usr/libexec/container-vtpm/vtpm-hook "$WORK/vtpm-hook"
expect_error "podman without the hook" 'vtpm-hook' \
    podman --runtime vtpm run --rm --annotation org.container-vtpm.state=persistent "$IMAGE" true
mv "$WORK/vtpm-hook" /usr/libexec/container-vtpm/
docker rmi tpm-test debian:13 >/dev/null
# What a pod of this node gets is below.
first_tpm Kubernetes
wait_until "containerd" ctr version
# It has lost its connection to containerd, and `docker info` answers without one.
wait_until "docker's connection" docker run --rm "$IMAGE" true
expect_host "$host"
ctr images remove docker.io/library/tpm-test:latest
# Without the second name it would take all names of the image away.
podman untag localhost/tpm-test localhost/tpm-test

WAY=wrapper cri_pod pod
member podman podman wrapper runc
member docker docker wrapper runc
member pod/cri cri wrapper runc
start() { engine_start "$name"; }
each start
each expect_tpm "after three commands"
expect_equal "containers with a TPM" "$(cat "$WORK"/*.id | sort)" \
    "$(vtpmctl list --json | jq --raw-output '.[].containerID' | sort)"
remove() { engine_remove "$name"; }
each remove
expect_host "$host"

# podman's hooks.d, which `engine install` configures only if it is named.
vtpmctl engine install podman --way hooks >/dev/null
expect_match "random bytes by hooks.d" '^[0-9a-f]{16}$' "$(podman --runtime "$RUNTIME" run --rm \
    --annotation org.container-vtpm.state=persistent --env TPM2TOOLS_TCTI=device:/dev/tpmrm0 "$IMAGE" tpm2_getrandom --hex 8)"

for name in docker podman containerd; do vtpmctl engine remove "$name" >/dev/null; done
expect_equal "the files of hooks.d at the end" '' "$(find /usr/share/containers/oci/hooks.d -name '*vtpm*' 2>/dev/null)"
expect_equal "the engines' files at the end" "$before" "$(files)"
expect_equal "the engines that are shown at the end" "$none" "$(ways)"
systemctl reload docker
systemctl restart containerd
expect_equal "units of ours" '' "$(units_of_ours)"
