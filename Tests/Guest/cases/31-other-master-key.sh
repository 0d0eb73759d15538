# With another master key the container does not start and its state is untouched; with the right one it is back.
# Runtimes: runc
. "$GUEST/lib.sh"

readonly store=/var/lib/container-vtpm

container_start mine
key=$(endorsement_key mine)
container_stop mine
before=$(state_snapshot)

# Another host's store, made by the programs themselves so that it is a good one; then our state under its key.
mv "$store" "$WORK/ours"
container_start theirs
container_stop theirs
mv "$store" "$WORK/theirs"
mkdir --mode=700 "$store"
cp --archive "$WORK/ours/"{states,index} "$store/"
cp --archive "$WORK/theirs/keys" "$store/keys"
foreign=$(state_snapshot)
cmp --silent "$WORK/ours/keys/master.key" "$MASTER_KEY" && fail "two stores have the same master key"

container_wrap_hooks mine
host=$(host_snapshot)
expect_creation_refused mine 'needs the master key'
expect_host "$host"
expect_states "$foreign"

rm -rf "$store"
mv "$WORK/ours" "$store"
expect_states "$before"
container_start mine
expect_equal "the endorsement key" "$key" "$(endorsement_key mine)"
container_stop mine
