# What a runtime, an image or an earlier hook has put at /dev/tpm0: a plain file or a device on the container's own tmpfs
# gives way to the vTPM, anything else is refused, and so is a /dev that is the host's.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

# A node by linux.devices, as --device makes it, and a file of the image, with a process that is not root.
container_bundle present \
    '.linux.devices += [{path: "/dev/tpm0", type: "c", major: 1, minor: 3}] | .process.user = {uid: 1000, gid: 100}' \
    '(.mounts[] | select(.destination == "/dev") | .options) += ["tmpcopyup"] | .root.readonly = true'
echo "the image's" >"$BUNDLES/present/rootfs/dev/tpmrm0"
container_start present
# Without the user some runtimes exec as root, who has no CAP_DAC_OVERRIDE here.
container_exec --user 1000:100 present tpm2_getrandom --hex 8
container_exec --user 1000:100 present tpm2_getrandom --tcti device:/dev/tpm0 --hex 8
expect_equal "the nodes" 'character special file 600 1000:100' \
    "$(container_exec present stat --format '%F %a %u:%g' /dev/tpm0 /dev/tpmrm0 | sort --unique)"
container_stop present
expect_equal "the image's file" "the image's" "$(<"$BUNDLES/present/rootfs/dev/tpmrm0")"

host() {
    host_snapshot
    find /dev -xdev -printf '%p %y %m %U:%G\n' | sort
}

refused() { # SCRIPT REGEX
    local before
    before=$(host)
    container_hook_first trap "nsenter --target \$pid --mount $1"
    container_wrap_hooks trap
    expect_creation_refused trap "$2"
    expect_equal "the host" "$before" "$(host)"
    container_edit trap '.hooks.createRuntime |= .[1:]'
}
# Nothing of this depends on the runtime.
# shellcheck disable=SC2016 # $rootfs is for the hook
if [[ $RUNTIME == runc ]]; then
    container_bundle trap
    refused 'mkfifo $rootfs/dev/tpm0' 'tpm0 .*no device'
    refused 'ln -s /proc/self/root/dev/null $rootfs/dev/tpmrm0' 'tpmrm0 .*symbolic link'
    refused 'sh -c "touch $rootfs/dev/tpm0 && mount --bind /dev/null $rootfs/dev/tpm0"' 'something is mounted there'
    refused 'mount --bind /dev $rootfs/dev' "it is the host's own"
fi
