# shellcheck shell=bash
# For cases: a disk of the case's own, which has all states while it is there. To be sourced after lib.sh.

readonly DISK=container-vtpm-tests
disk_loop=''

# Makes a disk with such a file system; each of its flushes takes so many milliseconds.
disk_begin() { # FILE-SYSTEM FLUSH-TIME [MOUNT-OPTIONS]
    local node options=()
    # What it would write later by itself is written now.
    [[ $1 != ext4 ]] || options=(-E lazy_itable_init=0,lazy_journal_init=0)
    modprobe --all loop dm-delay "$1"
    truncate --size 512M "$WORK/disk"
    disk_loop=$(losetup --find --show "$WORK/disk")
    trap disk_end_case EXIT
    dmsetup create --noudevsync "$DISK" --table "0 $(blockdev --getsz "$disk_loop") delay $disk_loop 0 0 $disk_loop 0 0 $disk_loop 0 $2"
    # Without udev only this name of it is made each time.
    node=/dev/dm-$(dmsetup info --columns --noheadings --options minor "$DISK" | tr --delete ' ')
    "mkfs.$1" "${options[@]}" "$node" >"$WORK/output" 2>&1 || fail "cannot make the file system $1: $(<"$WORK/output")"
    mkdir --parents /var/lib/container-vtpm
    mount -o "noatime${3:+,$3}" "$node" /var/lib/container-vtpm
    chmod 0700 /var/lib/container-vtpm
}

disk_end() {
    umount /var/lib/container-vtpm
    dmsetup remove --retry "$DISK"
    losetup --detach "$disk_loop"
    rm "$WORK/disk"
    disk_loop=''
}

disk_end_case() {
    local status=$?
    set +e
    [[ -z $disk_loop ]] || {
        runtime delete --force --all >/dev/null 2>&1
        disk_end
    } >/dev/null 2>&1
    (exit "$status")
    end_case
}

# Before that, something of theirs may be written.
vtpms_are_gone() { ! tpm_exists && ! supervisor_runs; }

# How many flushes the disk has been told of. The kernel's Documentation/block/stat.rst
disk_flushes() {
    local words
    read -r -a words <"/sys/block/${disk_loop##*/}/stat"
    echo "${words[15]}"
}
