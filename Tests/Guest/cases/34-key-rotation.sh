# `vtpmctl key rotate` takes running and stopped containers to a new master key, and nothing needs the old one any more.
# Runtimes: runc
. "$GUEST/lib.sh"

for id in running stopped; do
    container_start "$id"
done
key_running=$(endorsement_key running)
key_stopped=$(endorsement_key stopped)
container_stop stopped
container_shell running 'tpm2_nvdefine 0x1500001 -C o -s 7 -a "ownerread|ownerwrite"' >/dev/null
cp "$MASTER_KEY" "$WORK/old.key"
old=$(vtpmctl key show)

expect_error "rotating without a confirmation" 'nobody has confirmed it' vtpmctl key rotate
expect_equal "the master key" "$old" "$(vtpmctl key show)"
expect_match "what vtpmctl says" '1 states at rest, 1 of running containers' "$(vtpmctl key rotate --yes)"
new=$(vtpmctl key show)
expect_different "the master keys" "$old" "$new"
expect_equal "the keys of all states" "$new" "$(vtpmctl state list --json | jq -r '.[].keyID' | sort -u)"
expect_equal "files in the keys' directory" master.key "$(ls /var/lib/container-vtpm/keys)"
vtpmctl state verify

container_shell running 'echo -n content | tpm2_nvwrite 0x1500001 -C o -i -'
container_start stopped
expect_equal "the key of the stopped container" "$key_stopped" "$(endorsement_key stopped)"
container_stop stopped
container_stop running
container_start running
expect_equal "the key of the running container" "$key_running" "$(endorsement_key running)"
expect_equal "what was written after the rotation" content "$(container_exec running tpm2_nvread 0x1500001 -C o)"
container_stop running

# The old key opens nothing.
cp "$MASTER_KEY" "$WORK/new.key"
cp "$WORK/old.key" "$MASTER_KEY"
container_wrap_hooks running
states=$(state_snapshot)
expect_creation_refused running "$new"
expect_states "$states"
cp "$WORK/new.key" "$MASTER_KEY"
