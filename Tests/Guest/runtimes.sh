# shellcheck shell=bash
# The runtimes that a case runs with: both, or runc alone where its first comments have the line `# Runtimes: runc`, since
# nothing in it depends on the runtime.
runtimes_of() { # FILE
    if grep --quiet '^# Runtimes: runc$' "$1"; then
        echo runc
    else
        echo runc crun
    fi
}
