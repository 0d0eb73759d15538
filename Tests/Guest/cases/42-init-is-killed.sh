# `kill -9` of a container's init: everything of ours goes without anyone's call, and the later poststop succeeds.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

container_bundle brief
before=$(host_snapshot)
container_start brief
container_exec brief tpm2_getrandom --hex 8
kill -KILL "$(container_pid brief)"
expect_host "$before"
runtime delete brief
expect_host "$before"

# A container that was created and never started is no different.
container_create brief
kill -KILL "$(container_pid brief)"
expect_host "$before"
runtime delete --force brief
