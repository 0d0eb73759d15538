# shellcheck shell=bash
# The AppArmor profiles of the five programs: put into force for the whole run, and what the kernel has denied them.
# A case in which something is denied that the case does not expect has failed.

readonly OUR_PROFILES=(vtpm-ca vtpm-hook vtpm-supervisor vtpm-systemd vtpm-worker vtpmctl)
readonly LOADED_PROFILES=/sys/kernel/security/apparmor/profiles
apparmor_is_on='' apparmor_replaced='' kernel_mark=''

apparmor_load() {
    apparmor_parser --replace --skip-cache "${OUR_PROFILES[@]/#//etc/apparmor.d/}"
}

# Puts the profiles of the programs under test into force, and prints why that is impossible where it is.
apparmor_begin() { # PROGRAMS
    if [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) != Y ]]; then
        echo "# without AppArmor: this kernel runs without it"
        return
    fi
    mountpoint --quiet /sys/kernel/security || mount -t securityfs securityfs /sys/kernel/security
    ! grep --quiet --extended-regexp '^vtpm(-hook|-supervisor|-systemd|-worker|ctl) ' "$LOADED_PROFILES" || apparmor_replaced=yes
    cp --recursive "$1/etc/apparmor.d" /etc/
    # Folders and names of the tests' own, as an operator would add his.
    mkdir -p /etc/apparmor.d/local
    echo "/run/container-vtpm-tests/** rw," >/etc/apparmor.d/local/vtpmctl
    apparmor_load
    apparmor_is_on=yes
    # Ten lines in five seconds would be all.
    sysctl --quiet kernel.printk_ratelimit=0
    apparmor_mark 'the beginning'
    apparmor_settle || echo "# without a look at what AppArmor denies: the kernel's log does not have it"
}

# The kernel writes its log some time later, and in order: has it deny something, and waits until that is there. Leaves
# the process that it was denied to in `canary`.
apparmor_settle() {
    local tries
    aa-exec --profile=vtpm-worker /bin/cat /etc/passwd >/dev/null 2>&1 &
    canary=$!
    wait "$canary" || true
    for ((tries = 0; tries < 50; tries++)); do
        ! dmesg | grep --quiet "apparmor=\"DENIED\".* pid=$canary " || return 0
        sleep 0.1
    done
    return 1
}

# On a host that goes on after the tests its own profiles are put into force again, if it had any.
apparmor_end() {
    [[ -n $apparmor_is_on ]] || return 0
    if [[ -n $apparmor_replaced ]] && umount --lazy /etc; then
        apparmor_load
    else
        apparmor_parser --remove "${OUR_PROFILES[@]/#//etc/apparmor.d/}"
    fi
}

# What is denied from now on is what the next case has caused.
apparmor_mark() { # NAME
    kernel_mark="container-vtpm-tests $BASHPID $SECONDS $1"
    [[ -z $apparmor_is_on ]] || echo "$kernel_mark" >/dev/kmsg
}

# What has been denied to our programs since then, without what the case has announced in $WORK/denials: one extended
# regular expression in each line.
apparmor_denials() {
    local expected=/dev/null log canary
    [[ -n $apparmor_is_on ]] || return 0
    [[ ! -f ${WORK:-}/denials ]] || expected=$WORK/denials
    apparmor_settle || true
    log=$(dmesg)
    if ! grep --quiet --fixed-strings "$kernel_mark" <<<"$log"; then
        echo "the kernel's log is too short for this case"
        return
    fi
    awk -v mark="$kernel_mark" 'found; index($0, mark) { found = 1 }' <<<"$log" |
        grep --extended-regexp 'apparmor="(DENIED|ALLOWED)".* profile="vtpm(-hook|-supervisor|-systemd|-worker|ctl)["/]' |
        grep --invert-match " pid=$canary " | grep --extended-regexp --invert-match --file="$expected"
}
