# `vtpmctl engine` and the runtime wrapper: docker, podman, CRI and ctr give a container a TPM after three commands, which
# systemd and the engines leave to it, and `remove` puts each file back.
# Guests: debian-13
. "$GUEST/lib.sh"
. "$GUEST/engines.sh"

configure <<<"[runtime]
path = \"$(command -v "$RUNTIME")\""
files() { find /etc/docker /etc/containers /etc/containerd -type f -exec sha256sum {} + | sort; }
for ENGINE in podman docker; do engine_import; done
cri_import
before=$(files)
for name in docker 'podman --way runtime' containerd; do
    # shellcheck disable=SC2086 # its words are meant
    vtpmctl engine install $name >"$WORK/output" || fail "engine install $name: $(<"$WORK/output")"
    # shellcheck disable=SC2086
    expect_match "a second install of $name" 'nothing|already' "$(vtpmctl engine install $name)"
done
expect_different "the engines' files" "$before" "$(files)"
# Engines of other users read it too.
expect_equal "the mode of a new folder" 755 "$(stat --format %a /etc/containers/containers.conf.d)"
systemctl reload docker
systemctl restart containerd
wait_until "containerd" ctr version
wait_until "docker" docker info
WAY=wrapper
host=$(host_snapshot)

# What README.md promises for the first five minutes, by the commands that it has.
podman tag "$IMAGE" localhost/tpm-test
docker tag "$IMAGE" tpm-test
first_tpm() { # HEADING
    local commands
    commands=$(commands_of README.md "$1")
    bash -euo pipefail -c "$commands" >"$WORK/output" 2>&1 </dev/null || fail "README.md, $1: $(<"$WORK/output")"
}
for heading in docker podman containerd; do
    first_tpm "$heading"
    expect_match "the end of README.md, $heading" '^[0-9a-f]{16}$' "$(tail --lines=1 "$WORK/output")"
done
# What a pod of this node gets is below.
first_tpm Kubernetes
wait_until "containerd" ctr version
wait_until "docker" docker info
expect_host "$host"

# The runtime has allowed the devices itself, and systemd knows them: no program of ours is in force.
expect_native() { # ID
    local unit
    unit=$(scope_of "$1")
    expect_match "device rules of $unit" "/dev/char/$(lease_field "$1" tpm) rw" \
        "$(systemctl show --property=DeviceAllow --value "$unit")"
}

try() { # SLICE
    engine_start main
    expect_tpm "with $ENGINE at first" main
    local key
    key=$(engine_endorsement_key main)
    expect_native "$id"
    systemctl daemon-reload
    neighbours_come_and_go "$1"
    expect_tpm "with $ENGINE after daemon-reload and five neighbours" main
    systemctl daemon-reexec
    neighbours_come_and_go "$1"
    systemctl set-property --runtime "$(scope_of "$id")" MemoryMax=1G
    expect_tpm "with $ENGINE after daemon-reexec and a property" main
    if [[ $ENGINE == docker ]]; then
        docker update --memory 512m --memory-swap 1g main >/dev/null
        expect_tpm "after docker update" main
    else
        podman_update main
        expect_tpm "after podman update" main
    fi
    "restart_$ENGINE" main
    expect_equal "the endorsement key with $ENGINE after a restart" "$key" "$(engine_endorsement_key main)"
    engine rm --force main >/dev/null
}

restart_podman() { podman --runtime vtpm restart --time 0 "$1" >/dev/null; }
restart_docker() {
    # Without the setting that leaves them running, docker stops its containers and starts this one again.
    docker update --restart always "$1" >/dev/null
    systemctl restart docker
    wait_until "docker" docker info
    wait_until "the container to run again" engine_exec "$1" test -c /dev/tpmrm0
}

ENGINE=podman try machine.slice
ENGINE=docker try system.slice

# CRI: a pod's sandbox gets none. ctr needs no configuration.
pods=(pod)
"$CRI" pod pod runtime=vtpm >/dev/null
"$CRI" container pod first annotation=org.container-vtpm.state=persistent sleep 100000 >/dev/null
expect_match "random bytes through CRI" '^[0-9a-f]{16}$' \
    "$("$CRI" exec pod first env TPM2TOOLS_TCTI=device:/dev/tpmrm0 tpm2_getrandom --hex 8)"
expect_equal "containers with a TPM" "$("$CRI" id pod first)" "$(vtpmctl list --json | jq --raw-output '.[].containerID')"
systemctl daemon-reload
systemd-run --quiet --scope --slice kubepods.slice --property 'DeviceAllow=/dev/null rw' true
systemctl restart containerd
wait_until "containerd" ctr version
expect_match "random bytes after daemon-reload and containerd's restart" '^[0-9a-f]{16}$' \
    "$("$CRI" exec pod first env TPM2TOOLS_TCTI=device:/dev/tpmrm0 tpm2_getrandom --hex 8)"
"$CRI" remove pod
pods=()
ctr --namespace k8s.io run --rm --runc-binary /usr/libexec/container-vtpm/vtpm-runtime "$IMAGE" by-ctr \
    env TPM2TOOLS_TCTI=device:/dev/tpmrm0 tpm2_getrandom --hex 8 >"$WORK/bytes"
expect_match "random bytes with ctr" '^[0-9a-f]{16}$' "$(<"$WORK/bytes")"
expect_host "$host"

ctr images remove docker.io/library/tpm-test:latest
docker rmi tpm-test >/dev/null
podman untag localhost/tpm-test
for name in docker podman containerd; do vtpmctl engine remove "$name" >/dev/null; done
expect_equal "the engines' files at the end" "$before" "$(files)"
systemctl reload docker
systemctl restart containerd
expect_equal "units of ours" '' "$(units_of_ours)"
