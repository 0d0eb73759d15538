# A root filesystem cannot lead the hook astray: with a symbolic link at /dev/tpm0 or /dev/tpmrm0, or without a /dev of
# its own, the container is refused, and the file on the host to which the link points is untouched.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

echo "the host's own" >"$WORK/victim"

refused() { # ID REGEX
    local host states
    echo "trap: $1"
    container_wrap_hooks "$1"
    host=$(host_snapshot)
    states=$(state_snapshot)
    expect_creation_refused "$1" "$2"
    cat "$BUNDLES/$1/hook.createRuntime.error"
    expect_host "$host"
    expect_states "$states"
    expect_equal "the host's file" "the host's own" "$(<"$WORK/victim")"
    [[ ! -L $WORK/victim && -f $WORK/victim ]] || fail "the host's file is another"
}

# A link that is in the image, where nothing is mounted at /dev; and the same /dev without a link.
container_bundle image 'del(.mounts[] | select(.destination == "/dev"))'
ln -s "$WORK/victim" "$BUNDLES/image/rootfs/dev/tpm0"
refused image 'no tmpfs of its own'
container_bundle no-dev 'del(.mounts[] | select(.destination == "/dev"))'
refused no-dev 'no tmpfs of its own'

# A link that is in the image and that the runtime copies into the tmpfs.
container_bundle copied '(.mounts[] | select(.destination == "/dev") | .options) += ["tmpcopyup"]'
ln -s "$WORK/victim" "$BUNDLES/copied/rootfs/dev/tpm0"
refused copied 'put /dev/tpm0 into the container: the image has a symbolic link there'

# A link that someone has put into the tmpfs before us.
for node in tpm0 tpmrm0; do
    container_bundle "hook-$node"
    container_hook_first "hook-$node" "nsenter --target \$pid --mount ln -s $WORK/victim \$rootfs/dev/$node"
    refused "hook-$node" "put /dev/$node into the container: the image has a symbolic link there"
done

# The host's own /dev.
container_bundle host-dev \
    '(.mounts[] | select(.destination == "/dev")) |= {destination: "/dev", type: "bind", source: "/dev", options: ["bind"]}'
refused host-dev 'no tmpfs of its own'
