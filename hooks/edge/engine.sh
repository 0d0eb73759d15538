# shellcheck shell=sh
# For vtpm-app: how containers are started and stopped, and how they get their TPM. To be sourced.
: "${hooks:?}" "${locks:?}"

# What starts containers: `runc` is a runtime alone, `containerd` is ctr. ctr reads its own variables, CONTAINERD_ADDRESS and
# CONTAINERD_NAMESPACE.
engine=${VTPM_APP_ENGINE:-runc}
# The runtime: a program, by its path or its name. The wrapper has its own from /etc/container-vtpm/config.toml.
runtime=${VTPM_APP_RUNTIME:-}
# How containers get their TPM: `wrapper` starts containers with vtpm-runtime, `hooks` adds them to config.json. Nothing else
# depends on it. Whoever names a runtime means that one, and gets hooks.
way=${VTPM_APP_WAY:-${VTPM_APP_RUNTIME:+hooks}}
way=${way:-wrapper}
runtime_root=${VTPM_APP_RUNTIME_ROOT:-$locks/containers}

case $engine in
    runc | containerd) ;;
    *) die "cannot use the engine '$engine': it is unknown; VTPM_APP_ENGINE is runc or containerd" ;;
esac
case $way in
    hooks) ;;
    # vtpmctl is in PATH as a link to the one beside the other programs.
    wrapper)
        require_programs vtpmctl
        runtime=$(dirname -- "$(readlink -f -- "$(command -v vtpmctl)")")/vtpm-runtime ;;
    *) die "cannot give containers a TPM by '$way': it is unknown; VTPM_APP_WAY is hooks or wrapper" ;;
esac
case $engine in
    runc) needed_programs="${runtime:=runc}" ;;
    containerd) needed_programs="ctr $runtime" ;;
esac
# shellcheck disable=SC2086 # words are meant
require_programs $needed_programs vtpmctl jq flock

# Prints the config.json of an application's container: the bundle's own, with its paths made absolute, as it is used from
# another folder, and without a terminal, as nobody is at one.
engine_config() { # BUNDLE STATE
    # shellcheck disable=SC2016 # jq's variables
    edits='
        .annotations["org.container-vtpm.state-id"] = $state
        | .root.path |= absolute
        | .mounts = [.mounts[]? | if any(.options[]?; . == "bind" or . == "rbind") then .source |= absolute else . end]
        | .process.terminal = false'
    if [ "$way" = hooks ]; then
        edits="$(cat -- "$hooks/merge.jq") | $edits"
    fi
    jq --arg bundle "$1" --arg state "$2" --slurpfile ours "$hooks/oci-bundle.json" \
        "def absolute: if startswith(\"/\") then . else \$bundle + \"/\" + . end; $edits" "$1/config.json"
}

# Prints whether a container is `running`, `stopped`, or `none`.
engine_status() { # CONTAINER
    "${engine}_status" "$1"
}

# Starts the container of a version's folder. The output goes to FOLDER/output. Where it fails `reason` says why, and what is
# left is to be removed.
engine_start() { # FOLDER CONTAINER STATE
    : >"$1/error"
    # The lock's descriptor is for none of the processes that stay.
    "${engine}_start" "$@" 9>&- && return 0
    # The last line is what the failure was; runtimes warn before.
    [ -n "$reason" ] || reason=$(grep . "$1/error" | tail -n 1)
    return 1
}

engine_signal() { # CONTAINER SIGNAL
    case $engine in
        runc) "$runtime" --root "$runtime_root" kill "$1" "$2" ;;
        containerd) ctr task kill --signal "$2" "$1" ;;
    esac >/dev/null 2>&1
}

# Prints the command by which one kills what is not recorded.
engine_kill() { # CONTAINER
    case $engine in
        runc) echo "$runtime --root $runtime_root kill $1 KILL" ;;
        containerd) echo "ctr task kill --signal KILL $1" ;;
    esac
}

# Prints the command by which one removes what is not the application's.
engine_delete() { # CONTAINER
    case $engine in
        runc) echo "$runtime --root $runtime_root delete $1" ;;
        containerd) echo "ctr container delete $1" ;;
    esac
}

# Kills what runs, and leaves nothing of a start; fails if that is impossible.
engine_stop() { # CONTAINER
    "${engine}_stop" "$1" >/dev/null 2>&1 || :
    [ "$(engine_status "$1")" = none ]
}

# The same, and the engine does not know the container any more.
engine_remove() { # CONTAINER
    engine_stop "$1" || return 1
    [ "$engine" = runc ] || ! ctr container info "$1" >/dev/null 2>&1 || ctr container delete "$1" >/dev/null
}

# Prints the IDs of the application's containers that the engine knows, whatever is recorded; without a name, of all. An ID
# alone does not tell whose a container is.
engine_containers() { # [NAME]
    known=$("${engine}_containers" "$@") || return 1
    [ "$#" -gt 0 ] || { printf '%s\n' "$known"; return 0; }
    for one in $known; do
        number=${one#"$1".}
        case $number in
            "$one" | '' | *[!0-9]*) ;;
            *) printf '%s\n' "$one" ;;
        esac
    done
}

# Whether a container is among these, one a line.
engine_lists() { # CONTAINERS CONTAINER
    printf '%s\n' "$1" | grep -qxF -e "$2"
}

# Whether the container has the TPM of this state. A hook that was not called makes none, and an annotation that did not reach
# it has the TPM be another.
has_tpm_of() { # CONTAINER STATE
    leases=$(vtpmctl list --json) || return 1
    printf '%s\n' "$leases" | jq -e --arg container "$1" --arg state "$2" \
        'any(.[]; .containerID == $container and .stateID == $state)' >/dev/null
}

no_tpm() { # CONTAINER STATE
    reason="the container $1 came without the TPM $2: it was stopped"
}

# --- a runtime alone ---

runc_status() {
    [ -d "$runtime_root/$1" ] || { echo none; return 0; }
    # A runtime that was killed may have left a folder that it makes nothing of.
    state=$("$runtime" --root "$runtime_root" state "$1" 2>/dev/null) || state='{"status": "stopped"}'
    printf '%s\n' "$state" | jq -r 'if .status == "stopped" then "stopped" else "running" end'
}

runc_containers() { # [NAME]
    [ -d "$runtime_root" ] || return 0
    ids=$(ls -- "$runtime_root") || return 1
    for id in $ids; do
        if [ "$#" -eq 0 ] || runc_is_of "$id" "$1"; then printf '%s\n' "$id"; fi
    done
}

# The folder is the applications' own: what the runtime makes nothing of is no other's.
runc_is_of() { # CONTAINER NAME
    state=$("$runtime" --root "$runtime_root" state "$1" 2>/dev/null) || return 0
    printf '%s\n' "$state" | jq -e --arg name "$2" '.annotations["org.container-vtpm.state-id"] == $name' >/dev/null
}

runc_start() {
    # Nothing of the application runs before its TPM has been looked at.
    "$runtime" --root "$runtime_root" create --bundle "$1" "$2" </dev/null >"$1/output" 2>&1 || {
        cp -- "$1/output" "$1/error"
        return 1
    }
    has_tpm_of "$2" "$3" || { no_tpm "$2" "$3"; return 1; }
    "$runtime" --root "$runtime_root" start "$2" >"$1/error" 2>&1
}

runc_stop() {
    [ ! -d "$runtime_root/$1" ] || "$runtime" --root "$runtime_root" delete --force "$1"
}

# --- containerd ---

containerd_status() {
    tasks=$(ctr task list) || return 1
    printf '%s\n' "$tasks" | awk -v id="$1" '
        $1 == id { found = ($3 == "STOPPED") ? "stopped" : "running" }
        END { print found ? found : "none" }'
}

# The label of an application's containers, with the application's name: others use the namespace too.
label=vtpm-app.application

containerd_containers() { # [NAME]
    ctr container list --quiet ${1:+"labels.\"$label\"==\"$1\""}
}

containerd_start() {
    : >"$1/output"
    # The container stays when its task ends, so that `vtpmctl state prune` knows whose the state is.
    if ctr container info "$2" >/dev/null 2>&1; then
        ctr task start --detach --log-uri "file://$1/output" "$2" >"$1/error" 2>&1 || return 1
    else
        ctr run --detach --log-uri "file://$1/output" --config "$1/config.json" --label "$label=$3" \
            ${runtime:+--runc-binary "$runtime"} "$2" >"$1/error" 2>&1 || return 1
    fi
    has_tpm_of "$2" "$3" || { no_tpm "$2" "$3"; return 1; }
}

containerd_stop() {
    # Its exit status is the task's own.
    ctr task delete --force "$1"
}
