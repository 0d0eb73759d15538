# shellcheck shell=bash
# What this project can leave on a host, in a form that `diff` can compare; without the folder of network namespaces, which
# podman mounts once.

host_snapshot() {
    local entry
    pgrep --list-name '^vtpm-' | sed 's/^[0-9]* /process /' || true
    for entry in /run/container-vtpm/* /sys/class/tpm/* /sys/class/tpmrm/* /sys/fs/cgroup{,/unified}/container-vtpm/*/; do
        [[ ! -e $entry || $entry == */leaving/ ]] || echo "$entry"
    done
    awk '$5 != "/run/netns" { print "mount", $5 }' /proc/self/mountinfo | sort
}

# Every file of the persistent state with its content's checksum.
state_snapshot() {
    [[ ! -d /var/lib/container-vtpm ]] || find /var/lib/container-vtpm -printf '%P %y %m ' \
        \( -type f -exec sha256sum {} \; -o -printf '\n' \) | sed 's,  /.*,,' | sort
}

show_difference() { # BEFORE AFTER
    diff <(echo "$1") <(echo "$2") | sed -n 's/^</gone:/p; s/^>/left:/p' >&2 || true
}
