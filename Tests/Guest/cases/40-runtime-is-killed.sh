# `kill -9` of the runtime in whose foreground a container runs: the container lives on and keeps its TPM; with its
# init everything goes.
. "$GUEST/lib.sh"

container_bundle orphan
before=$(host_snapshot)
container_run_in_background orphan sleep infinity
kill -KILL "$foreground"
wait "$foreground" || true
container_exec orphan tpm2_getrandom --hex 8
container_kill orphan
expect_host "$before"
