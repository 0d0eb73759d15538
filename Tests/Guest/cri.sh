# shellcheck shell=bash
# shellcheck disable=SC2034 # much here is for the cases
# For engines.sh: containers of containerd's CRI.

# As host/cri, of which one process serves the whole case: an emulated processor takes seconds to start it. Two can be under
# way at once.
cri() { # COMMAND...
    local reply=$WORK/cri.$BASHPID status=1 output='' errors=''
    mkfifo "$reply"
    printf '%s\0' "$@" >"$reply.words"
    echo "$reply" >&"$cri_requests"
    # Opened for both, so that it needs no writer yet.
    {
        IFS= read -r -d '' -t 300 status && IFS= read -r -d '' output && IFS= read -r -d '' errors ||
            errors="cri: no reply to $*"
    } <>"$reply"
    rm "$reply" "$reply.words"
    printf %s "$output"
    printf %s "$errors" >&2
    return "$status"
}

# The image for CRI, which takes it from podman, and its client.
cri_import() {
    exec {cri_requests}> >(exec "$GUEST/host/cri" serve)
    cri_server=$!
    [[ -z $(ctr --namespace k8s.io images list --quiet "name==$IMAGE") ]] || return 0
    ENGINE=podman engine_import
    podman save --quiet --format docker-archive --output /var/tmp/image.tar "$IMAGE"
    ctr --namespace k8s.io images import /var/tmp/image.tar >/dev/null
    rm /var/tmp/image.tar
}

cri_pod() { # NAME [OPTION...]
    cri pod "$1" "runtime=$(engine_runtime)" "${@:2}" >/dev/null
}

# For `engine_start`: prints the container's ID.
cri_start() { # OPTION...
    if [[ $WAY == hook ]]; then
        set -- "device=$TPM_DEVICE" "$@"
    else
        set -- annotation=org.container-vtpm.state=persistent "$@"
    fi
    cri container "${name%/*}" "${name##*/}" env=TPM2TOOLS_TCTI=device:/dev/tpmrm0 "$@" "${init[@]}"
}
