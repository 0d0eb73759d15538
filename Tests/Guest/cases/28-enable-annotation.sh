# The configuration says which containers get a TPM, and annotations which of them want one: what gets none is left alone.
# Runtimes: runc
. "$GUEST/lib.sh"

annotated() { # JSON
    echo ".annotations = $1"
}
readonly enabled='{"org.container-vtpm.enable": "true"}' disabled='{"org.container-vtpm.enable": "false"}'
# Not even what the hook would refuse is of any concern to it.
container_bundle none "$(annotated "$disabled")" '.linux.namespaces |= map(select(.type != "pid"))'
container_bundle some
container_wrap_hooks none
container_wrap_hooks some
before=$(host_snapshot)
states=$(state_snapshot)

expect_none() { # ID
    container_start "$1"
    expect_failure "$1: a TPM" container_exec "$1" test -e /dev/tpm0
    expect_host "$before"
    expect_states "$states"
    expect_equal "$1: what the hook says" '' "$(<"$BUNDLES/$1/hook.createRuntime.error")"
    container_stop "$1"
    expect_equal "$1: poststop" 0 "$(<"$BUNDLES/$1/hook.poststop.status")"
    expect_equal "log lines" '' "$(grep "container=\"$1\"" "$SYSLOG" || true)"
}

expect_creation_refused none 'enable: the configuration does not let a container do without a TPM .container\.opt-out = true'
: >"$SYSLOG"

configure <<'END'
[container]
opt-out = true
END
expect_none none
container_edit none "$(annotated '{"org.container-vtpm.enable": "no"}')"
expect_creation_refused none '"no" is neither "true" nor "false"'
: >"$SYSLOG"
container_start some
container_exec some tpm2_getrandom --hex 8
container_stop some

# A pod's sandbox.
for kind in io.kubernetes.cri.container-type io.kubernetes.cri-o.ContainerType; do
    container_edit none "$(annotated "{\"$kind\": \"sandbox\", \"org.container-vtpm.enable\": \"true\"}")"
    states=$(state_snapshot)
    : >"$SYSLOG"
    expect_none none
done

configure <<'END'
[container]
tpm = "annotated"
END
: >"$SYSLOG"
expect_none some
container_edit some "$(annotated "$enabled")"
container_start some
container_exec some tpm2_getrandom --hex 8
container_stop some
expect_host "$before"
container_edit some "$(annotated '{"org.container-vtpm.state": "ephemeral"}')"
expect_creation_refused some 'state: the container does not ask for a TPM .it needs the annotation org\.container-vtpm\.enable = "true"'
