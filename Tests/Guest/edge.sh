# shellcheck shell=bash
# For cases about hooks/edge: the life of one application on two devices. To be sourced after lib.sh; `runtime` has to find
# the containers that vtpm-app makes.

readonly store=/var/lib/container-vtpm
export VTPM_APP_GRACE=0 VTPM_APP_TRIAL=0

app() {
    /usr/share/container-vtpm/hooks/edge/vtpm-app "$@"
}

# A bundle as a builder of images leaves it: without hooks, and with its root filesystem beside it.
app_bundle() { # NAME [JQ]...
    container_bundle "$1" "$without_hooks" "${@:2}"
}

# Another device: with its own states, its own master key and its own applications. The bundles are on both.
device=a
on_device() { # NAME
    [[ ! -d $store ]] || mv "$store" "$WORK/$device.store"
    device=$1
    [[ ! -d $WORK/$device.store ]] || mv "$WORK/$device.store" "$store"
    export VTPM_APP_HOME=$WORK/$device.applications
}

expect_app() { # WHAT CONTAINER STATUS
    expect_match "$1" "(^|"$'\n'")web +$2 +$3 " "$(app list)"
}

# The wrapper is what containers have unless a way or a runtime is named: config.json gets the annotation alone.
expect_no_hooks() {
    expect_equal "hooks of the application" null "$(jq .hooks "$VTPM_APP_HOME/web/1/config.json")"
}

expect_containers() { # WHAT [ID]...
    expect_equal "$1" "${*:2}" "$(runtime list --quiet | paste --serial --delimiters ' ')"
}

# Made, started, stopped.
edge_begin() {
    local pid
    printf '[state]\nid = "annotation"\n[runtime]\npath = "%s"\n' "$(command -v "$RUNTIME")" | configure
    app_bundle one
    on_device a
    app create web "$BUNDLES/one"
    expect_error "another of its name" 'cannot create web: there is one; vtpm-app upgrade web' app create web "$BUNDLES/one"
    app start web
    key=$(endorsement_key web.1)
    expect_equal "its state" web "$(lease_field web.1 stateID)"
    pid=$(container_pid web.1)
    app start web
    expect_equal "its init after another start" "$pid" "$(container_pid web.1)"
    expect_app "the list while it runs" web.1 running
}

# Another container with the same TPM; and one that cannot start, after which the earlier one has its TPM again.
edge_upgrade() {
    app_bundle two
    app upgrade web "$BUNDLES/two"
    expect_equal "the endorsement key after the upgrade" "$key" "$(endorsement_key web.2)"
    expect_containers "the containers after the upgrade" web.2
    expect_equal "the versions after the upgrade" "$VTPM_APP_HOME/web/2" "$(echo "$VTPM_APP_HOME"/web/[0-9]*)"

    # Its TPM is made and its hook is through when the runtime finds that there is nothing to execute.
    app_bundle broken '.process.args = ["/no/such/program"]'
    expect_error "an upgrade to what does not start" \
        'cannot upgrade web to .*/broken: .*/no/such/program.*web\.2 runs again with its TPM$' app upgrade web "$BUNDLES/broken"
    expect_containers "the containers after it" web.2
    expect_equal "the endorsement key after it" "$key" "$(endorsement_key web.2)"
    expect_app "the list after it" web.2 running
}

# What is refused while it runs; then the move to another device, where it has its keys, and from where they do not come back.
edge_move() {
    local export=$WORK/web.export passphrase=$WORK/passphrase identity=$WORK/identity.pem recipient=$WORK/recipient.pem verb
    expect_error "its end while it runs" 'cannot purge web: it runs; vtpm-app stop web' app purge --yes web
    expect_error "its move while it runs" 'cannot export web: it runs; vtpm-app stop web' \
        app export --passphrase-file "$passphrase" web "$export"
    app stop web
    app stop web
    expect_containers "the containers after the stop"
    touch "$passphrase"
    expect_error "a secret that others may read" 'its mode is 644; chmod 600' \
        app export --passphrase-file "$passphrase" web "$export"
    chmod 0600 "$passphrase"
    expect_error "an export that fails" 'vtpmctl: cannot use the passphrase in .*: it is empty' \
        app export --passphrase-file "$passphrase" web "$export"
    expect_app "the list after that" web.2 none
    openssl genpkey -algorithm X25519 -out "$identity" 2>/dev/null
    openssl pkey -in "$identity" -pubout -out "$recipient"
    app export --recipient "$recipient" web "$export"
    for verb in 'start web' "upgrade web $BUNDLES/one"; do
        # shellcheck disable=SC2086 # words are meant
        expect_error "$verb after the export" "its TPM was exported to $export on .*vtpm-app purge web" app $verb
    done

    on_device b
    app import --identity /dev/fd/3 web "$export" "$BUNDLES/one" 3< <(cat "$identity")
    ! cmp --silent "$WORK/a.store/keys/master.key" "$MASTER_KEY" || fail "two devices have the same master key"
    app start web
    expect_equal "the endorsement key on the other device" "$key" "$(endorsement_key web.1)"
    app stop web
    expect_error "a second import" 'cannot import web: there is one' \
        app import --identity "$identity" web "$export" "$BUNDLES/one"
}

# The end, on both devices.
edge_end() {
    # As a host upgrade does it that forgets the folder of the states.
    rm -rf "$store"
    expect_error "a start without the states" 'its TPM is gone: this host has no state web; restore' app start web
    app purge web
    expect_error "a start after the end" 'there is no such application; vtpm-app list' app start web

    on_device a
    expect_error "a start on the first device" 'its TPM was exported' app start web
    expect_error "its end without a confirmation" 'nobody has confirmed it .*--yes' app purge web
    expect_app "the list after that" web.2 moved
    expect_error "its return without a confirmation" 'cannot reclaim web: nobody has confirmed it' app reclaim web
    app reclaim --yes web
    expect_app "the list after its return" web.2 none
    expect_equal "the states after that" web "$(vtpmctl state list --json | jq -r '.[].stateID')"
    app purge --yes web
    expect_equal "the states in the end" '' "$(vtpmctl state list --json | jq -r '.[].stateID')"
    expect_equal "what is left of it" '' "$(ls "$VTPM_APP_HOME")"
}
