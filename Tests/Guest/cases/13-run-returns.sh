# A runtime's `run` ends with its container, with the container's exit status: nothing that stays behind keeps it.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

status=0
container_bundle short
before=$(host_snapshot)
container_run short sh -c 'tpm2_getrandom --hex 8 && exit 42' || status=$?
expect_equal "the exit status" 42 "$status"
expect_host "$before"
