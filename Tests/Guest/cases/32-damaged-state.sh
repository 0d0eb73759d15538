# State that is truncated, changed or another container's is refused and untouched, never replaced by a new identity.
# Runtimes: runc
. "$GUEST/lib.sh"

for id in mine other; do
    container_start "$id"
    container_stop "$id"
done
cp "$STATES/mine/state" "$WORK/good"
container_wrap_hooks mine
host=$(host_snapshot)

refused() { # WHAT
    local states
    states=$(state_snapshot)
    echo "state: $1"
    expect_creation_refused mine state
    expect_host "$host"
    expect_states "$states"
    cat "$BUNDLES/mine/hook.createRuntime.error"
}

: >"$STATES/mine/state"
refused empty
head --bytes=-1 "$WORK/good" >"$STATES/mine/state"
refused "without its last byte"
# One bit in the middle: the complement of a byte.
{
    size=$(stat --format %s "$WORK/good")
    head --bytes=$((size / 2)) "$WORK/good"
    tail --bytes=+$((size / 2 + 1)) "$WORK/good" | head --bytes=1 | LC_ALL=C tr '\000-\377' '\001-\377\000'
    tail --bytes=+$((size / 2 + 2)) "$WORK/good"
} >"$STATES/mine/state"
expect_equal "the changed file's size" "$size" "$(stat --format %s "$STATES/mine/state")"
refused "with one byte changed"
cp "$STATES/other/state" "$STATES/mine/state"
refused "another container's"

cp "$WORK/good" "$STATES/mine/state"
container_start mine
container_stop mine
