# shellcheck shell=bash
# shellcheck disable=SC2034 # much here is for the cases
# For cases with the line `# Guests: debian-13`: containers of the engines on a host with systemd, with each engine's own
# defaults, and that host itself. To be sourced after lib.sh. ENGINE is podman, docker or cri, which is containerd's; RUNTIME
# is what it starts. A container of cri is named POD/CONTAINER.

readonly IMAGE=localhost/tests:1 TPM_DEVICE=container-vtpm.org/tpm=auto

# What an operator puts in place for podman, docker and CRI.
install_carrier() {
    install -D --mode=0644 "$HOOKS/cdi/container-vtpm.json" /etc/cdi/container-vtpm.json
}

# Has docker read its file, and waits for that: a reload sends a signal, and waits for nothing.
reload_docker() {
    systemctl reload docker
    wait_until "docker to know the runtime" sh -c 'docker info --format "{{.Runtimes}}" | grep vtpm'
}

# The same for the wrapper, which has this case's runtime unless a case configures another; the tables go into the
# configuration beside it.
install_wrapper() { # ENGINE [TABLES]
    local options=()
    printf '[runtime]\npath = "%s"\n%s\n' "$(command -v "$RUNTIME")" "${2:-}" | configure
    [[ $1 != podman ]] || options=(--way runtime)
    vtpmctl engine install "$1" "${options[@]}" >"$WORK/install" || fail "engine install $1: $(<"$WORK/install")"
    case $1 in
        docker)
            reload_docker
            ;;
        containerd)
            systemctl restart containerd
            wait_until "containerd" ctr version
            ;;
    esac
}

# How containers get their TPM: `hook` by CDI's device, or `wrapper` by our runtime, which `install_wrapper` has put in place.
WAY=hook
# What they run.
init=(sleep 100000)

# What a case knows of each of its containers is in files of this folder, by the container's name.
RECORDS=$WORK
record() { # WHAT
    echo "$RECORDS/${name//\//-}.$1"
}

# --- the engines ---

engine_runtime() {
    if [[ $WAY == wrapper ]]; then echo vtpm; else echo "$RUNTIME"; fi
}

engine() { # COMMAND...
    if [[ $ENGINE == podman ]]; then podman --runtime "$(engine_runtime)" "$@"; else docker "$@"; fi
}

# Once for each machine, which to ask the engine takes as long as a container.
engine_import() {
    [[ ! -e /srv/tests/imported-$ENGINE ]] || return 0
    # The command is what CRI's sandboxes run.
    engine import --change 'CMD ["/bin/sleep", "100000"]' /srv/tests/image.tar "$IMAGE" >/dev/null
    touch "/srv/tests/imported-$ENGINE"
}

# Starts a container with a TPM that stays, and leaves its ID in `id`. The pod of one of cri is there.
engine_start() { # NAME [OPTION...]
    local name=$1 output
    shift
    output=$(record output)
    if [[ $ENGINE == cri ]]; then
        cri_start "$@"
    elif [[ $WAY == hook ]]; then
        engine_run --device "$TPM_DEVICE" "$@"
    else
        engine_run --annotation org.container-vtpm.state=persistent "$@"
    fi >"$(record id)" 2>"$output" || {
        cat "$output" >&2
        fail "cannot start the container $name with $ENGINE and $RUNTIME"
    }
    id=$(<"$(record id)")
}

# What they run ends by no signal but SIGKILL: nobody shall wait ten seconds for it.
engine_run() { # OPTION...
    [[ $ENGINE == podman ]] || set -- --runtime "$(engine_runtime)" "$@"
    engine run --detach --stop-timeout 1 --name "$name" --env TPM2TOOLS_TCTI=device:/dev/tpmrm0 "$@" "$IMAGE" "${init[@]}"
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

engine_id() { # NAME
    engine inspect --format '{{.Id}}' "$1"
}

engine_pid() { # NAME
    if [[ $ENGINE == cri ]]; then
        lease_field "$id" initPID
    else
        engine inspect --format '{{.State.Pid}}' "$1"
    fi
}

engine_exec() { # NAME COMMAND...
    if [[ $ENGINE == cri ]]; then
        cri exec "${1%/*}" "${1##*/}" "${@:2}"
    else
        engine exec "$@" </dev/null
    fi
}

engine_shell() { # NAME SCRIPT
    engine_exec "$1" sh -euc "$2"
}

engine_remove() { # NAME
    case $ENGINE in
        podman) podman rm --force --time 0 "$1" ;;
        docker) docker rm --force "$1" ;;
        cri) cri remove "${1%/*}" ;;
    esac >/dev/null
}

# The unit that the engine has systemd make for the container.
scope_of() { # ID
    case $ENGINE in
        podman) echo "libpod-$1.scope" ;;
        docker) echo "docker-$1.scope" ;;
        cri) echo "cri-containerd-$1.scope" ;;
    esac
}

# As `endorsement_key` has it of a runtime's container, of one that can use both devices.
readonly print_endorsement_key='
    tpm2_getrandom --tcti device:/dev/tpm0 8 >/dev/null
    tpm2_createek -c /tmp/ek.ctx -G ecc -u /tmp/ek.pub >/dev/null
    busybox sha256sum </tmp/ek.pub | busybox cut -d " " -f 1'

engine_endorsement_key() { # NAME
    engine_shell "$1" "$print_endorsement_key"
}

expect_tpm() { # WHEN [NAME]
    local container=${2:-$name} bytes
    bytes=$(engine_shell "$container" 'for device in tpmrm0 tpm0; do
        TPM2TOOLS_TCTI=device:/dev/$device tpm2_getrandom --hex 8 || echo "none"
        echo
    done') || fail "$container cannot use its TPM $1"
    expect_match "random bytes of $container from tpmrm0 and tpm0 $1" $'^[0-9a-f]{16}\n+[0-9a-f]{16}$' "$bytes"
}

# Two containers of one image, whatever engine, runtime and way they have it by: what they run is measured as the same, but for
# the annotation that asks for a TPM.
expect_same_launch() { # ID OTHER
    local id statement
    for id in "$1" "$2"; do
        statement=$(vtpmctl launch show "$id" --print statement)
        jq 'del(.annotations)' <<<"$statement" >"$WORK/launch-of-$id"
    done
    diff "$WORK/launch-of-$1" "$WORK/launch-of-$2" || fail "two containers of one image are launched in different ways"
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

end_engine_case() {
    local status=$? name
    set +e
    for name in $(podman ps --all --quiet 2>/dev/null); do
        podman rm --force --time 0 "$name" >/dev/null 2>&1
    done
    podman pod rm --all --force --time 0 >/dev/null 2>&1
    [[ -z ${cri_requests:-} ]] || {
        cri clear
        kill "$cri_server"
    }
    ! systemctl --quiet is-active docker || docker ps --all --quiet | xargs --no-run-if-empty docker rm --force >/dev/null 2>&1
    ! jq --exit-status '."live-restore"' /etc/docker/daemon.json >/dev/null || docker_live_restore false
    # The engines' own files, for the next case. What runs reads them when it is restarted.
    for name in podman docker containerd; do
        [[ ! -e /var/lib/container-vtpm/engines/$name.json ]] || vtpmctl engine remove "$name" >/dev/null
    done
    (exit "$status")
    end_case
}
trap end_engine_case EXIT

# shellcheck source=cri.sh
. "$GUEST/cri.sh"
# shellcheck source=side-by-side.sh
. "$GUEST/side-by-side.sh"
