# shellcheck shell=sh
# shellcheck disable=SC2154 # vtpm-app sets its variables
# For vtpm-app: an application's record, and its container. To be sourced.
#
# APPS/NAME has a folder for each version, VERSION/{bundle,config.json,output}, and
#
#   current  the number of the version in use; what has none is no application
#   tpm      is there once the application has had its TPM
#   moved    the file that its TPM was exported to, and when
#
# What is in use is the container NAME.VERSION, and the state NAME.

private_folder() { # FOLDER...
    (umask 077 && mkdir -p -- "$@")
}

# Takes the application's lock, for as long as this process lives.
lock() {
    case $name in
        '' | *[!A-Za-z0-9_-]* | [_-]* | *[_-] | *[_-][_-]*)
            misused "cannot name an application '$name': it has letters and digits, with single - and _ between them" ;;
    esac
    app=$apps/$name
    private_folder "$apps" "$locks"
    exec 9>"$locks/$name.lock"
    flock -n 9 || die "cannot $verb $name: another vtpm-app works on it; try again when that has ended"
}

# Finds the application, and removes what a step that was interrupted has left of other versions.
open_app() {
    lock
    [ -f "$app/current" ] || no_application
    version=$(cat -- "$app/current")
    container=$name.$version
    forget_others
}

no_application() {
    die "cannot $verb $name: there is no such application; vtpm-app list"
}

forget_others() {
    for other in "$app"/[0-9]*/; do
        [ -d "$other" ] || continue
        other=$(basename -- "$other")
        [ "$other" = "$version" ] || forget "$other" || die "cannot $verb $name: its container $name.$other does not stop"
    done
}

forget() { # VERSION
    engine_remove "$name.$1" && rm -rf -- "${app:?}/$1"
}

# What has no version in use never was an application, or its record is lost. Nothing of it is removed yet.
require_new() {
    lock
    [ ! -f "$app/current" ] || die "cannot $verb $name: there is one; vtpm-app upgrade $name BUNDLE gives it another container"
    find_unrecorded
    require_free 1
}

# Finds the application's containers that the engine knows although no record does.
find_unrecorded() {
    unrecorded=$(engine_containers "$name") || die "cannot $verb $name: $engine does not list its containers"
    for other in $unrecorded; do
        ! is_running "$other" ||
            die "cannot $verb $name: its container $other runs, and $apps has no record of it; $(engine_kill "$other")"
    done
}

# Removes them, and what is left of a record: one of them would be started in place of a new one of its ID.
forget_unrecorded() {
    for other in $unrecorded; do
        engine_remove "$other" || die "cannot $verb $name: $engine does not remove its container $other"
    done
    rm -rf -- "$app"
}

# Another's container of a new version's ID would be stopped, or started in its place.
require_free() { # VERSION
    engine_lists "$unrecorded" "$name.$1" && return 0
    all=$(engine_containers) || die "cannot $verb $name: $engine does not list its containers"
    ! engine_lists "$all" "$name.$1" ||
        die "cannot $verb $name: $engine has another container $name.$1. If nobody needs it: $(engine_delete "$name.$1")"
}

require_bundle() { # BUNDLE
    bundle=$(readlink -f -- "$1") || bundle=$1
    [ -f "$bundle/config.json" ] || die "cannot $verb $name: the bundle $1 has no config.json; runc spec makes one"
}

# Makes a version's folder of a bundle, which is not changed.
prepare() { # VERSION BUNDLE
    require_bundle "$2"
    private_folder "$app/$1"
    printf '%s\n' "$bundle" >"$app/$1/bundle"
    why=$(engine_config "$bundle" "$name" 2>&1 >"$app/$1/config.json") || {
        rm -rf -- "${app:?}/$1"
        rmdir -- "$app" 2>/dev/null || :
        die "cannot $verb $name: $bundle/config.json cannot be used: $why"
    }
    sync -- "$app/$1/bundle" "$app/$1/config.json" "$app/$1"
}

# Makes a version the one in use, at once or not at all.
use() { # VERSION
    printf '%s\n' "$1" >"$app/current.new"
    sync -- "$app/current.new"
    mv -f -- "$app/current.new" "$app/current"
    sync -- "$app" "$apps"
    version=$1 container=$name.$1
}

has_state() {
    states=$(vtpmctl state list --json) || die "cannot $verb $name: this host's TPMs cannot be listed; vtpmctl doctor"
    printf '%s\n' "$states" | jq -e --arg name "$name" 'any(.[]; .stateID == $name)' >/dev/null
}

# --- what its container does ---

is_running() { # CONTAINER
    status=$(engine_status "$1") || die "cannot $verb $name: $engine does not say whether $1 runs"
    [ "$status" = running ]
}

require_stopped() {
    ! is_running "$container" || die "cannot $verb $name: it runs; vtpm-app stop $name"
}

require_here() {
    [ ! -f "$app/moved" ] || die "cannot $verb $name: its TPM was exported to $(cat -- "$app/moved")." \
        "If another device has it: vtpm-app purge $name. If the file is gone and nobody has used it: vtpm-app reclaim $name"
}

# Starts a version's container with the application's TPM. Where that fails `reason` says why, and the container is stopped.
launch() { # VERSION
    reason=''
    # Whoever has lost the states would be given a new TPM, with other keys.
    if [ -f "$app/tpm" ] && ! has_state; then
        reason="its TPM is gone: this host has no state $name; restore /var/lib/container-vtpm, or vtpm-app purge $name"
        return 1
    fi
    # What has ended by itself, or was interrupted, is in the way of another of its ID.
    engine_stop "$name.$1" || { reason="what is left of $name.$1 cannot be removed"; return 1; }
    if ! engine_start "$app/$1" "$name.$1" "$name"; then
        engine_stop "$name.$1" || reason="$reason; $name.$1 does not stop"
        return 1
    fi
    # Without this record, an application whose states are lost would be given a new TPM.
    [ -f "$app/tpm" ] || { : >"$app/tpm"; } 2>/dev/null || {
        reason="the record in $app cannot be written"
        engine_stop "$name.$1" || reason="$reason; $name.$1 does not stop"
        return 1
    }
    sync -- "$app"
}

# Stops the container, by force where it does not end by itself. Where that fails `reason` says why.
halt() {
    if is_running "$container"; then
        engine_signal "$container" TERM || :
        tenths=$((grace * 10))
        while [ "$tenths" -gt 0 ] && is_running "$container"; do
            sleep 0.1
            tenths=$((tenths - 1))
        done
    fi
    engine_stop "$container" || { reason="its container $container does not stop"; return 1; }
}
