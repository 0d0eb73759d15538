# shellcheck shell=bash
# For `run`: the command that starts a machine of a kind, in the array `command`.

# Sets `command` to what runs a command line on this host, in a mount namespace of its own.
command_on_this_host() { # WORD...
    command=(unshare --mount --propagation private "$@")
}

# The device alone says nothing: some hosts have it and run no guest with it.
can_use_kvm() {
    [[ -z ${CONTAINER_VTPM_NO_KVM:-} && -w /dev/kvm ]] &&
        grep --quiet --extended-regexp '^flags.* (vmx|svm)( |$)' /proc/cpuinfo
}

hardware_tpm_options() {
    echo "-chardev socket,id=tpm-socket,path=$tpm_folder/socket -tpmdev emulator,id=tpm,chardev=tpm-socket" \
        "-device tpm-tis,tpmdev=tpm"
}

# A machine with this host's own files and the kernel of its distribution, without systemd.
command_on_debian_12() { # KIND WORD...
    local kind=$1 version inside options=''
    shift
    version=$(<"$cache/kernel/version")
    command=(env "PATH=$cache/virtme/bin:$PATH" vng --run "$cache/kernel/boot/vmlinuz-$version" --force-9p
        --cpus 2 --memory 4G --rwdir "$stage/results")
    if ! can_use_kvm; then
        command+=(--disable-kvm)
        # Without address space randomization: emulation translates a program's code anew for each address that it gets,
        # which for the many short programs of a case takes longer than they do. Not so in a soak, which has the time.
        [[ -n ${CONTAINER_VTPM_SOAK:-} ]] || command+=(--append norandmaps)
        # virtme-ng makes six devices of one serial port each, and QEMU an eventfd for each queue of the 31 ports that each
        # of them could have: 390 descriptors that its main loop goes through each time, with the lock that the processors
        # need for every interrupt. All machines that hung had just made these. One port is numbered 1, so two are needed.
        options=' -global virtio-serial-device.max_ports=2'
        # Page tables of five levels cost time, and are what the processor models have not that others saw no machine hang
        # with while it booted.
        options+=' -cpu max,la57=off'
    fi
    [[ $kind != hardware ]] || options+=" $(hardware_tpm_options)"
    [[ -z $options ]] || command+=("--qemu-opts=${options# }")
    # virtme-ng puts the command into the kernel's command line, which has 2048 bytes: with all cases in it, it hangs.
    mkdir -p "$stage/command"
    printf '%q ' "$@" >"$stage/command/command"
    printf -v inside '%q ' /bin/bash "$stage/command/command"
    command+=(-- "$inside")
}

# A machine with systemd and files of its own, as host/make has made them; what it writes is gone when it ends. It may be
# restarted: it then begins the same command again.
command_on_systemd_host() { # WORD...
    local host=$cache/host-$suite append='root=/dev/vda rw console=ttyS0 systemd.show_status=0 quiet'
    command=(qemu-system-x86_64 -machine pc -smp 2 -m 4G -nodefaults -no-user-config -display none)
    if can_use_kvm; then
        command+=(-accel kvm -cpu host)
    else
        command+=(-accel "tcg,thread=multi,tb-size=1024" -cpu "max,la57=off")
        append+=' norandmaps mitigations=off tsc=unstable'
    fi
    [[ $suite != *-selinux ]] || append+=' security=selinux enforcing=1'
    mkdir -p "$stage/command"
    printf '%s %s\n' "$cache" "$stage/results" >"$stage/command/folders"
    printf '%q ' "$@" >"$stage/command/command"
    command+=(-kernel "$host/kernel" -initrd "$host/initramfs" -append "$append" -serial stdio
        -drive "file=$host/image,format=raw,if=none,id=disk,snapshot=on,cache=unsafe"
        -device virtio-blk-pci,drive=disk -device virtio-rng-pci)
    share command "$stage/command" ,readonly=on
    share cache "$cache" ,readonly=on
    share results "$stage/results" ''
}

share() { # TAG FOLDER OPTIONS
    command+=(-fsdev "local,id=$1,path=$2,security_model=none,multidevs=remap$3"
        -device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}
