# shellcheck shell=bash
# shellcheck disable=SC2034 # much here is for the cases
# For engines.sh: what one event does to containers with a hook and with the wrapper, which are its members side by side.

members=()
member() { # NAME ENGINE WAY RUNTIME
    members+=("$*")
}

use() { # NAME ENGINE WAY RUNTIME
    name=$1 ENGINE=$2 WAY=$3 RUNTIME=$4 id=''
    [[ ! -e $(record id) ]] || id=$(<"$(record id)")
}

# Does something to all members at once, each in a process of its own that has name, ENGINE, WAY, RUNTIME and id.
each() { # COMMAND...
    local member job jobs=() status=0
    for member in "${members[@]}"; do
        (
            # shellcheck disable=SC2086 # its words are meant
            use $member
            "$@"
        ) &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job" || status=$?
    done
    return "$status"
}

# The same, with one after the other.
each_in_turn() { # COMMAND...
    local member
    for member in "${members[@]}"; do
        (
            # shellcheck disable=SC2086 # its words are meant
            use $member
            "$@"
        )
    done
}

remember_key() {
    engine_endorsement_key "$name" >"$(record key)"
}

# Its TPM is the one that it had, by both devices.
expect_key() { # WHEN
    expect_equal "$name: its endorsement key $1" "$(<"$(record key)")" "$(engine_endorsement_key "$name")"
}

start_member() {
    engine_start "$name" "$@"
    remember_key
}

# Changes a limit of a container.
engine_update() { # NAME
    case $ENGINE in
        podman) engine update --memory 512m "$1" ;;
        docker) docker update --memory 512m --memory-swap 1g "$1" ;;
        cri) cri update "${1%/*}" "${1##*/}" memory=536870912 ;;
    esac
}

# The same where crun takes the devices away with it, and has them given back.
update_and_grant() {
    # crun 1.23 and newer has systemd attach a program that it has pinned, in place of rules.
    if [[ $WAY == hook && -n $(systemctl show --property=BPFProgram --value "$(scope_of "$id")") ]]; then
        # That crun compares the pinned program with the one for the engine's rules, which know nothing of the TPM.
        expect_error "an update of $name" 'not supported when using BPFProgram' engine_update "$name"
    else
        engine_update "$name" >/dev/null
    fi
    if [[ $RUNTIME == crun ]] && ! engine_exec "$name" tpm2_getrandom 8 >/dev/null 2>&1; then
        # crun replaces the program of its own cgroup, from a configuration that knows nothing of the TPM.
        expect_error "doctor's exit status" 'podman update|vtpmctl grant' vtpmctl doctor
        vtpmctl grant "$id"
    fi
}

set_a_property() {
    systemctl set-property --runtime "$(scope_of "$id")" MemoryMax=1G
}

# systemd knows the devices that the runtime itself has allowed, unless crun 1.23 or newer has it attach a program.
expect_device_rules() {
    local unit
    unit=$(scope_of "$id")
    [[ -z $(systemctl show --property=BPFProgram --value "$unit") ]] || return 0
    expect_match "device rules of $unit" "/dev/char/$(lease_field "$id" tpm) rw" \
        "$(systemctl show --property=DeviceAllow --value "$unit")"
}

# Whether docker starts a container again that has a CDI device.
docker_starts_devices() {
    local version
    version=$(docker version --format '{{.Server.Version}}')
    [[ $(printf '%s\n' "$version" 28.2 | sort --version-sort | head -n 1) == 28.2 ]]
}

is_running() { # NAME
    [[ $(engine inspect --format '{{.State.Running}}' "$1") == true ]]
}

# One that its engine starts again by itself has its TPM again.
expect_started_again() { # WHEN
    if [[ $ENGINE == docker && $WAY == hook ]] && ! docker_starts_devices; then
        expect_failure "$name runs, whose docker starts no container with a CDI device again" is_running "$name"
        docker start "$name" >/dev/null
    else
        wait_until "$name to run again" is_running "$name"
    fi
    expect_key "$1"
}

docker_live_restore() { # true | false
    jq --argjson value "$1" '."live-restore" = $value' </etc/docker/daemon.json >"$RECORDS/daemon.json"
    cat "$RECORDS/daemon.json" >/etc/docker/daemon.json
    systemctl reload docker
    # A reload sends a signal, and waits for nothing.
    wait_until "docker to know it" sh -c "[ \"\$(docker info --format '{{.LiveRestoreEnabled}}')\" = $1 ]"
}
