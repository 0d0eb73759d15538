# A hook that is given what it cannot use says so in one clear line, fails, and changes nothing on the host.
# Runtimes: runc
. "$GUEST/lib.sh"

refused() { # WHAT REGEX STATE
    echo "input: $1"
    for stage in createRuntime prestart; do
        hook "$stage" "$3"
        expect_refusal "$stage with $1" "$2" "$HOOK_STATUS" "$HOOK_ERROR"
    done
    echo "$HOOK_ERROR"
    expect_host "$host"
    expect_states "$states"
}

container_bundle plain
sleep infinity &
outside=$!
# What is refused for its configuration has a mount and a PID namespace of its own: they are looked at first.
unshare --mount --pid --fork --kill-child sleep infinity &
holder=$!
find_init() {
    living=$(<"/proc/$holder/task/$holder/children") && living=${living% } && [[ -n $living ]]
}
wait_until "an init" find_init
sleep 0 &
gone=$!
wait "$gone"
host=$(host_snapshot)
states=$(state_snapshot)

refused "no input" 'standard input is not an OCI state|standard input is empty' ''
refused "broken JSON" 'not an OCI state in JSON: it is malformed' '{"ociVersion": "1.0.2", "id": '
refused "JSON of another kind" 'not an OCI state in JSON' '["plain"]'
refused "a state without an ID" '"id" is missing' "$(state_json plain "$living" | jq 'del(.id)')"
refused "a state without a pid" 'its state has no pid' "$(state_json plain "$living" | jq 'del(.pid)')"
refused "a pid that is gone" "find process $gone: pidfd_open: No such process" "$(state_json plain "$gone")"
refused "an init in the host's mount namespace" 'mount namespace' "$(state_json plain "$outside")"
mv "$BUNDLES/plain/config.json" "$WORK/config.json"
refused "a bundle without config.json" 'config\.json: open: No such file' "$(state_json plain "$living")"
echo '{"ociVersion": ' >"$BUNDLES/plain/config.json"
refused "a broken config.json" 'config\.json: it is malformed' "$(state_json plain "$living")"
mv "$WORK/config.json" "$BUNDLES/plain/config.json"
refused "a relative bundle" 'its bundle is not an absolute path' "$(state_json plain "$living" | jq '.bundle = "bundles/plain"')"
kill "$holder" "$outside"

hook frobnicate "$(state_json plain 1)"
expect_refusal "an unknown stage" frobnicate "$HOOK_STATUS" "$HOOK_ERROR"

# The runtime's own way: an annotation that nobody knows, in the configuration.
container_edit plain '.annotations = {"org.container-vtpm.nonsense": "1"}'
container_wrap_hooks plain
expect_creation_refused plain 'org\.container-vtpm\.nonsense'
expect_host "$host"
expect_states "$states"

# A unit of systemd's that does not exist, that others are in, or that is a slice, unless the container may use its TPM
# without a change. Found out before a state is made: the undo of one would show in the index.
readonly no_systemd='this host does not run systemd'
container_edit plain 'del(.annotations) | .linux.cgroupsPath = "system.slice:engine:" + $id'
expect_creation_refused plain "systemd's unit engine-plain\.scope: ($no_systemd|systemd has no such unit)"
container_edit plain '.linux.cgroupsPath = "system.slice::init"'
expect_creation_refused plain "systemd's unit init\.scope: ($no_systemd|the container is in .*, and the unit is /init\.scope)"
container_edit plain '.linux.cgroupsPath = "system.slice:engine:system.slice"'
expect_creation_refused plain "systemd's unit system\.slice: ($no_systemd|it is no scope)"
container_edit plain '.linux.cgroupsPath = "system.slice:engine:" + $id'
expect_host "$host"
expect_states "$states"
container_edit plain '.linux.resources.devices += [{allow: true, access: "rwm"}]'
container_start plain
container_exec plain tpm2_getrandom --hex 8
container_stop plain
container_edit plain '.linux.resources.devices |= .[:-1] | .linux.cgroupsPath = "/container-vtpm-tests/" + $id'
host=$(host_snapshot)
states=$(state_snapshot)

# A configuration that is not the container's: crun can be given another than the bundle's, and any can change meanwhile.
if [[ $RUNTIME == crun ]]; then
    jq '.process.user = {uid: 1000, gid: 1000}' <"$BUNDLES/plain/config.json" >"$WORK/other.json"
    record=$BUNDLES/plain/hook.createRuntime
    for command in create run; do
        expect_failure "crun $command --config" \
            runtime "$command" --bundle "$BUNDLES/plain" --config "$WORK/other.json" plain </dev/null
        expect_refusal "crun $command --config" 'crun has used another' "$(<"$record.status")" "$(<"$record.error")"
        expect_host "$host"
    done
fi
container_hook_first plain "sleep 0.2; touch '$BUNDLES/plain/config.json'"
expect_creation_refused plain "changed after the container's init was started"
container_edit plain '.hooks.createRuntime |= .[1:]'
expect_host "$host"
expect_states "$states"

# Others' annotations are none of our business.
container_edit plain '.annotations = {"org.example.nonsense": "1"}'
container_start plain
container_stop plain
