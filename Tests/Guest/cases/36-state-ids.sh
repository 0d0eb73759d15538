# Which state a container gets: by its ID, or by annotation where the configuration allows that, scoped; or none at all.
# Runtimes: runc
. "$GUEST/lib.sh"

annotate() { # ID NAME VALUE
    container_edit "$1" '.annotations[$name] = $value' --arg name "org.container-vtpm.$2" --arg value "$3"
}

# By default nobody names another's state.
container_bundle thief
annotate thief state-id mine
container_wrap_hooks thief
expect_creation_refused thief 'state-id.*state\.id'

configure <<'END'
[state]
id = "annotation"
scope = "containerd"
END
expect_creation_refused thief 'io\.kubernetes\.cri\.sandbox-namespace'

in_namespace() { # ID NAMESPACE NAME
    container_bundle "$1"
    container_edit "$1" '.annotations["io.kubernetes.cri.sandbox-namespace"] = $namespace' --arg namespace "$2"
    annotate "$1" state-id "$3"
}
in_namespace first blue web
container_start first
key=$(endorsement_key first)
expect_equal "the state's ID" containerd/blue/web "$(lease_field first stateID)"
container_stop first
in_namespace second blue web
container_start second
expect_equal "the endorsement key of the same name in the same namespace" "$key" "$(endorsement_key second)"
container_stop second
in_namespace third green web
container_start third
expect_different "the endorsement key of the same name in another namespace" "$key" "$(endorsement_key third)"
container_stop third

# An ephemeral TPM is another each time, and nothing of it is on disk.
states=$(state_snapshot)
container_bundle brief
annotate brief state ephemeral
keys=()
for _ in 1 2; do
    container_start brief
    keys+=("$(endorsement_key brief)")
    expect_equal "the state in the list" '(ephemeral)' "$(vtpmctl list | awk '/^brief/ { print $2 }')"
    container_shell brief 'tpm2_nvdefine 0x1500001 -C o -s 7' >/dev/null
    container_stop brief
done
expect_different "the endorsement keys of an ephemeral TPM" "${keys[@]}"
expect_states "$states"

configure <<'END'
[state]
ephemeral = false
END
container_wrap_hooks brief
expect_creation_refused brief 'state\.ephemeral'

configure <<<'[state]
idd = "annotation"'
expect_creation_refused brief 'config\.toml.*line 2.*idd'
