# What the kernel verifies of a root file system is measured by the digest with which it does: an image on a loop device whose file
# has fs-verity, and a device of dm-verity. Another image has another PCR 17, and one that nothing verifies is `not measured`.
# Runtimes: runc
. "$GUEST/lib.sh"

# AppArmor lets the hook look at images and devices only where the host says so, as docs/launch.md has it.
profiles() {
    [[ -e /sys/fs/selinux/enforce ]] || apparmor_parser --replace --skip-cache /etc/apparmor.d/vtpm-{hook,supervisor} /etc/apparmor.d/vtpmctl
}
undo() {
    rm -f /etc/apparmor.d/local/vtpm-hook
    [[ ! -e $WORK/vtpmctl ]] || cp "$WORK/vtpmctl" /etc/apparmor.d/local/vtpmctl
    profiles
    umount "$BUNDLES"/*/rootfs 2>/dev/null || true
    veritysetup close tests-root 2>/dev/null || true
    umount "$WORK/images" 2>/dev/null || true
}
trap 'status=$?; undo; (exit "$status"); end_case' EXIT
mkdir -p /etc/apparmor.d/local
[[ ! -e /etc/apparmor.d/local/vtpmctl ]] || cp /etc/apparmor.d/local/vtpmctl "$WORK/"
for program in vtpm-hook vtpmctl; do
    printf '%s\n' "$WORK/** r," '/dev/loop[0-9]* r,' '/dev/mapper/control rw,' >>"/etc/apparmor.d/local/$program"
done
profiles
modprobe -a loop dm-verity
configure <<<'[launch]
root = "verity"'

# A tree with what a runtime mounts on, since it can make nothing in it.
tree=$WORK/tree
mkdir -p "$tree"/{bin,dev,proc,sys}
for file in /bin/sleep $(ldd /bin/sleep | grep -o '/[^ ]*'); do install -D "$file" "$tree/$file"; done
truncate --size 64M "$WORK/outer.img"
mkfs.ext4 -q -O verity -b 4096 "$WORK/outer.img"
mkdir -p "$WORK/images"
mount -o loop "$WORK/outer.img" "$WORK/images"
image() { # NAME
    truncate --size 16M "$WORK/images/$1"
    mkfs.ext4 -q -b 4096 -d "$tree" "$WORK/images/$1"
}
# FS_IOC_ENABLE_VERITY with SHA-256, blocks of 4,096 bytes, no salt and no signature.
seal() { # NAME
    python3 -c '
import fcntl, os, struct, sys
file = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(file, 0x40806685, struct.pack("<IIIIQIIQ", 1, 1, 4096, 0, 0, 0, 0, 0) + bytes(88))' "$WORK/images/$1"
}
bundle() { # ID
    container_bundle "$1"
    umount "$BUNDLES/$1/rootfs"
    container_edit "$1" '.process.args = ["/bin/sleep", "infinity"] | .root.readonly = true'
}
host_pcr() { # ID
    tr A-F a-f <"/sys/class/tpm/tpm$(lease_field "$1" tpmNumber)/pcr-sha256/17"
}
content() { # ID
    vtpmctl launch show "$1" | grep '^root\.content'
}

image first
image second
echo other >"$tree/file"
image third
seal first
seal second
for id in first second third; do
    bundle "$id"
    mount -o ro,loop "$WORK/images/$id" "$BUNDLES/$id/rootfs"
done
value=$(vtpmctl launch predict "$BUNDLES/first" | sed -n 's/^17 *sha256 *//p')
container_start first
expect_equal "PCR 17 of an image with fs-verity" "$value" "$(host_pcr first)"
expect_match "the image's digest" 'root\.content\.fsVerity: "sha256:[0-9a-f]{64}"' "$(content first)"
expect_match "the path in it" 'root\.content\.path: "/"' "$(content first)"
# The same tree in another image has another digest: mkfs makes a UUID.
container_start second
expect_different "PCR 17 of another image" "$value" "$(host_pcr second)"
container_start third
expect_equal "the root of an image without fs-verity" 'root.content: "not measured"' "$(content third)"
for id in first second third; do container_stop "$id"; done

# The same image once more, in another place.
bundle again
mount --bind "$BUNDLES/first/rootfs" "$BUNDLES/again/rootfs"
container_start again
expect_equal "PCR 17 of the same image" "$value" "$(host_pcr again)"
container_stop again

# What somebody has mounted below the root is taken along, and is no part of the image.
mount -t tmpfs tests "$BUNDLES/first/rootfs/bin"
expect_match "a root with a mount below it" '"content":"not measured"' "$(vtpmctl launch predict "$BUNDLES/first" --statement)"
umount "$BUNDLES/first/rootfs/bin"

hash=$(veritysetup format "$WORK/images/third" "$WORK/hashes" | sed -n 's/^Root hash:[[:space:]]*//p')
umount "$BUNDLES/third/rootfs"
veritysetup open "$WORK/images/third" tests-root "$WORK/hashes" "$hash"
mount -o ro /dev/mapper/tests-root "$BUNDLES/third/rootfs"
container_start third
expect_match "the root hash" "root\.content\.dmVerity: \"sha256:$hash\"" "$(content third)"
container_stop third

# A device that gives out what is damaged verifies nothing.
umount "$BUNDLES/third/rootfs"
veritysetup close tests-root
veritysetup open --ignore-corruption "$WORK/images/third" tests-root "$WORK/hashes" "$hash"
mount -o ro /dev/mapper/tests-root "$BUNDLES/third/rootfs"
expect_match "a device that ignores damage" '"content":"not measured"' "$(vtpmctl launch predict "$BUNDLES/third" --statement)"
