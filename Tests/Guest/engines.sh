# shellcheck shell=bash
# shellcheck disable=SC2034 # much here is for the cases
# For cases with the line `# Guests: debian-13`: containers of the engines on a host with systemd, with each engine's own
# defaults, and that host itself. To be sourced after lib.sh. ENGINE is podman or docker; RUNTIME is what it starts.

readonly IMAGE=localhost/tests:1 TPM_DEVICE=container-vtpm.org/tpm=auto
readonly CRI=$GUEST/host/cri

# What an operator puts in place for podman, docker and CRI.
install_carrier() {
    install -D --mode=0644 "$HOOKS/cdi/container-vtpm.json" /etc/cdi/container-vtpm.json
}

# How containers get their TPM: `hook` by CDI's device, or `wrapper` by our runtime, which `vtpmctl engine` has put in place.
WAY=hook

engine_runtime() {
    if [[ $WAY == wrapper ]]; then echo vtpm; else echo "$RUNTIME"; fi
}

engine() { # COMMAND...
    if [[ $ENGINE == podman ]]; then podman --runtime "$(engine_runtime)" "$@"; else docker "$@"; fi
}

# Once for each machine.
engine_import() {
    # The command is what CRI's sandboxes run.
    engine image inspect "$IMAGE" >/dev/null 2>&1 ||
        engine import --change 'CMD ["/bin/sleep", "100000"]' /srv/tests/image.tar "$IMAGE" >/dev/null
}

# Changes a limit of podman's container, whose ID is in `id`, and has what crun takes away from it given back.
podman_update() { # NAME
    # crun 1.23 and newer has systemd attach a program that it has pinned, in place of rules.
    if [[ $WAY == hook && -n $(systemctl show --property=BPFProgram --value "$(scope_of "$id")") ]]; then
        # That crun compares the pinned program with the one for podman's rules, which know nothing of the TPM.
        expect_error "podman update" 'not supported when using BPFProgram' podman update --memory 512m "$1"
    else
        engine update --memory 512m "$1" >/dev/null
    fi
    if [[ $RUNTIME == crun ]] && ! engine_exec "$1" tpm2_getrandom 8 >/dev/null 2>&1; then
        # crun replaces the program of its own cgroup, from a configuration that knows nothing of the TPM.
        expect_error "doctor's exit status" 'podman update|vtpmctl grant' vtpmctl doctor
        vtpmctl grant "$1" 2>/dev/null || vtpmctl grant "$id"
    fi
}

# Starts a container with a TPM that stays, and leaves its ID in `id`.
engine_start() { # NAME [OPTION...]
    local name=$1
    shift
    [[ $ENGINE == podman ]] || set -- --runtime "$(engine_runtime)" "$@"
    if [[ $WAY == hook ]]; then
        set -- --device "$TPM_DEVICE" "$@"
    else
        set -- --annotation org.container-vtpm.state=persistent "$@"
    fi
    engine run --detach --name "$name" --env TPM2TOOLS_TCTI=device:/dev/tpmrm0 "$@" "$IMAGE" \
        sleep 100000 >"$WORK/output" 2>&1 || {
        cat "$WORK/output" >&2
        fail "cannot start the container $name with $ENGINE and $RUNTIME"
    }
    id=$(engine_id "$name")
}

# A container without a TPM that ends at once.
engine_pass() {
    local options=(--rm)
    if [[ $ENGINE == podman ]]; then
        podman --runtime "$RUNTIME" run "${options[@]}" "$IMAGE" true
    else
        docker run "${options[@]}" --runtime "$RUNTIME" "$IMAGE" true
    fi
}

# The image for CRI, which takes it from podman.
cri_import() {
    [[ -z $(ctr --namespace k8s.io images list --quiet "name==$IMAGE") ]] || return 0
    ENGINE=podman engine_import
    podman save --quiet --format docker-archive --output /var/tmp/image.tar "$IMAGE"
    ctr --namespace k8s.io images import /var/tmp/image.tar >/dev/null
    rm /var/tmp/image.tar
}

engine_id() { # NAME
    engine inspect --format '{{.Id}}' "$1"
}

engine_pid() { # NAME
    engine inspect --format '{{.State.Pid}}' "$1"
}

engine_exec() { # NAME COMMAND...
    engine exec "$@" </dev/null
}

engine_shell() { # NAME SCRIPT
    engine_exec "$1" sh -euc "$2"
}

# The unit that the engine has systemd make for the container.
scope_of() { # ID
    case $ENGINE in
        podman) echo "libpod-$1.scope" ;;
        docker) echo "docker-$1.scope" ;;
    esac
}

# As `endorsement_key` has it of a runtime's container.
readonly print_endorsement_key='
    tpm2_createek -c /tmp/ek.ctx -G ecc -u /tmp/ek.pub >/dev/null
    tpm2_flushcontext -t 2>/dev/null || true
    busybox sha256sum </tmp/ek.pub | busybox cut -d " " -f 1'

engine_endorsement_key() { # NAME
    engine_shell "$1" "$print_endorsement_key"
}

expect_tpm() { # WHEN NAME
    local bytes device
    for device in tpmrm0 tpm0; do
        bytes=$(engine_exec "$2" env "TPM2TOOLS_TCTI=device:/dev/$device" tpm2_getrandom --hex 8) ||
            fail "$2 cannot use /dev/$device $1"
        expect_match "random bytes of $2 from $device $1" '^[0-9a-f]{16}$' "$bytes"
    done
}

# systemd builds what it knows of the units of a slice anew when one of them changes after a reload, and not before.
neighbours_come_and_go() { # SLICE
    local i
    for ((i = 0; i < 4; i++)); do
        systemd-run --quiet --scope --slice "$1" --property 'DeviceAllow=/dev/null rw' true
    done
    engine_pass
}

# --- protected use, which only an orderly stop forgives ---

readonly define_protected='
    tpm2_nvdefine 0x1500001 -C o -s 7 -p password -a "authread|authwrite" >/dev/null
    echo -n content | tpm2_nvwrite 0x1500001 -C 0x1500001 -P password -i -'

# Prints the counter of failed authorizations as it was before a protected index is read. A TPM that ends after that
# without a shutdown has one more at its next start.
engine_use_protected() { # NAME
    engine_shell "$1" '
        tpm2_getcap properties-variable | busybox sed -n "s/^TPM2_PT_LOCKOUT_COUNTER: //p"
        test "$(tpm2_nvread 0x1500001 -C 0x1500001 -P password -s 7)" = content'
}

engine_define_protected() { # NAME
    engine_shell "$1" "$define_protected"
}

# --- the host ---

# Ends this part of the case and restarts the host; the case then begins again with PHASE=NEXT. `orderly` is what an
# operator does, and `hard` what a power failure does.
restart_host() { # orderly | hard NEXT
    trap - EXIT
    echo "$2" >"$RESULTS/phase"
    if [[ $1 == orderly ]]; then
        systemctl reboot
    else
        echo b >/proc/sysrq-trigger
    fi
    sleep infinity
}

# What the journal has of ours since the case began, one line each.
journal_of_ours() { # [ARGUMENT...]
    journalctl --quiet --output=cat --since="@$case_began" --identifier=vtpm-hook --identifier=vtpm-supervisor \
        --identifier=vtpm-worker "$@"
}
case_began=$(date +%s)

units_of_ours() {
    systemctl list-units --all --plain --no-legend 'vtpm-*' | awk '{ print $1 }'
}

vtpms_are() { # COUNT
    [[ $(vtpmctl list --json | jq length) == "$1" ]]
}

# CRI's pods to remove at the end.
pods=()
end_engine_case() {
    local status=$? name
    set +e
    for name in $(podman ps --all --quiet 2>/dev/null); do
        podman rm --force --time 0 "$name" >/dev/null 2>&1
    done
    podman pod rm --all --force --time 0 >/dev/null 2>&1
    for name in "${pods[@]}"; do
        "$CRI" remove "$name" >/dev/null 2>&1
    done
    ! systemctl --quiet is-active docker || docker ps --all --quiet | xargs --no-run-if-empty docker rm --force >/dev/null 2>&1
    (exit "$status")
    end_case
}
trap end_engine_case EXIT
