# A creation that fails half-way fails the container, says why in one line, undoes what it did, and does not stand in
# the way of the next one.
. "$GUEST/lib.sh"

readonly worker=/usr/libexec/container-vtpm/vtpm-worker

# Before there is a device: the worker does not work.
container_bundle unlucky
container_wrap_hooks unlucky
mount --bind /bin/false "$worker"
before=$(host_snapshot)
expect_creation_refused unlucky 'its worker ended with exit code 1'
expect_host "$before"
umount "$worker"

# After there is one: the first node can be put into the container, the second cannot.
container_edit unlucky '.mounts += [{destination: "/dev/tpmrm0", type: "tmpfs", source: "tmpfs"}]'
before=$(host_snapshot)
expect_creation_refused unlucky 'put /dev/tpmrm0 into the container: something is mounted there'
expect_host "$before"

container_edit unlucky '.mounts |= map(select(.destination != "/dev/tpmrm0"))'
container_start unlucky
container_exec unlucky tpm2_getrandom --hex 8
container_stop unlucky
