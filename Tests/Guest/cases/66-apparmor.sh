# Each program but the runtime wrapper has its AppArmor profile from its first instruction on, and the profiles deny: what takes
# a program's place gets no further than the program.
# Runtimes: runc
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"
[[ ! -e /sys/fs/selinux/enforce ]] || {
    echo "SELinux is in place of AppArmor"
    exit 0
}

readonly profiles=(vtpm-ca vtpm-hook vtpm-supervisor vtpm-systemd vtpm-worker vtpmctl)
readonly worker=/usr/libexec/container-vtpm/vtpm-worker supervisor=/usr/libexec/container-vtpm/vtpm-supervisor

label() { # PID
    cat "/proc/$1/attr/current"
}

for profile in "${profiles[@]}"; do
    grep --quiet "^$profile (enforce)$" /sys/kernel/security/apparmor/profiles || fail "$profile is not in force"
done

# The programs as they run. The hook waits for the container's state.
configure <<<''
container_start web
container_exec web tpm2_getrandom --hex 8
expect_equal "the supervisor's profile" 'vtpm-supervisor (enforce)' "$(label "$(lease_field web supervisorPID)")"
expect_equal "the worker's profile" 'vtpm-worker (enforce)' "$(label "$(lease_field web workerPID)")"
mkfifo "$WORK/input"
"$HOOK" poststop <"$WORK/input" &
hook=$!
exec {input}>"$WORK/input"
wait_until "the hook to run" grep --quiet --line-regexp vtpm-hook "/proc/$hook/comm"
expect_equal "the hook's profile" 'vtpm-hook (enforce)' "$(label "$hook")"
state_json another 0 >&"$input"
exec {input}>&-
wait "$hook"

container_stop web

# A shell in the place of a program has its profile.
readonly state=$STATES/web/state
takes_the_place_of() { # PROGRAM SCRIPT
    local status=0
    # What is done for it is done by the shell itself, whose libraries are the C library alone.
    mount --bind /bin/dash "$1"
    env --ignore-environment LC_ALL=C "$1" -c "$2" >/dev/null 2>"$WORK/error" || status=$?
    umount "$1"
    return "$status"
}
sleep infinity &
victim=$!

expect_denied() { # PROGRAM SCRIPT
    ! takes_the_place_of "$@" || fail "$2, as $1: expected a failure"
    expect_match "$2, as $1" 'Permission denied|Operation not permitted' "$(<"$WORK/error")"
    echo "denied to ${1##*/}: $2"
}

takes_the_place_of "$worker" 'echo nothing' || fail "a shell does not start as the worker: $(<"$WORK/error")"
for script in "read line <$state" "read line <$MASTER_KEY" 'read line </etc/passwd' 'read line </proc/1/status' \
    "echo >$WORK/file" 'echo >/tmp/file' '/bin/true' "kill $victim"; do
    expect_denied "$worker" "$script"
done
# Binary, so that `read` may fail at the end of the file: what counts is that it is opened.
takes_the_place_of "$supervisor" ": <$state" || fail "the supervisor cannot read a state: $(<"$WORK/error")"
for script in ": <$MASTER_KEY" ': </etc/container-vtpm/config.toml' ': </etc/passwd' '/bin/true' "kill $victim"; do
    expect_denied "$supervisor" "$script"
done
for script in ': </etc/shadow' 'echo >/etc/file' '/bin/true'; do
    expect_denied "$HOOK" "$script"
done
for script in 'echo >/etc/file' 'echo >/usr/bin/file' '/bin/true'; do
    expect_denied /usr/libexec/container-vtpm/vtpmctl "$script"
done

# What denies is the profile: without it, the same shell in the same place reads the state.
apparmor_parser --remove /etc/apparmor.d/vtpm-worker
takes_the_place_of "$worker" ": <$state" || fail "another than the profile denies: $(<"$WORK/error")"
apparmor_parser --replace --skip-cache /etc/apparmor.d/vtpm-worker
expect_denied "$worker" ": <$state"
kill "$victim"

# These are meant. What is denied to the programs themselves fails every other case.
echo ' comm="(vtpm-ca|vtpm-worker|vtpm-supervisor|vtpm-systemd|vtpm-hook|vtpmctl)" ' >"$WORK/denials"
