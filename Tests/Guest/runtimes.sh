# shellcheck shell=bash
# The runtimes that a case runs with: both, unless nothing in it depends on the runtime, which its first comments say by
# the line `# Runtimes: runc` or, where both are worth their time in a soak run, `# Runtimes: runc; both in a soak run`.
runtimes_of() { # FILE
    if grep --quiet '^# Runtimes: runc$' "$1"; then
        echo runc
    elif [[ -z ${CONTAINER_VTPM_SOAK:-} ]] && grep --quiet '^# Runtimes: runc; both in a soak run$' "$1"; then
        echo runc
    else
        echo runc crun
    fi
}
