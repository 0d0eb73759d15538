# `kill -9` of the runtime while it creates a container, at several moments: nothing is left once the init is gone.
# Guests: debian-12 debian-13
. "$GUEST/lib.sh"

for moment in hook_runs supervisor_runs lease_begins tpm_exists lease_exists; do
    echo "moment: $moment"
    container_bundle "$moment"
    before=$(host_snapshot)
    container_create_in_background "$moment"
    wait_closely "$moment" "$moment"
    kill -KILL "$creator"
    wait "$creator" || true
    # The hook goes on without its parent; what it has made ends with the container.
    wait_until "the hook to end" eval '! hook_runs'
    container_kill "$moment"
    expect_host "$before"
done
