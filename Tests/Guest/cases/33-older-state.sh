# A state from before the last stop is refused, and so are one that is lost, one that the host does not know and a host
# without its index; each by its own words, with nothing changed, and each with a command that helps.
# Runtimes: runc
. "$GUEST/lib.sh"

for id in mine other; do
    container_start "$id"
    container_stop "$id"
done
key=$(container_start mine && endorsement_key mine && container_stop mine)
cp --archive "$STATES/mine" "$WORK/newest"
container_start mine
container_shell mine 'tpm2_nvdefine 0x1500001 -C o -s 7 -a "ownerread|ownerwrite"' >/dev/null
container_stop mine
cp --archive "$STATES/mine" "$WORK/current"
container_wrap_hooks mine
host=$(host_snapshot)

refused() { # WHAT REGEX [WHAT-VERIFY-SAYS]
    local states
    states=$(state_snapshot)
    expect_creation_refused mine "$2"
    expect_host "$host"
    expect_states "$states"
    cat "$BUNDLES/mine/hook.createRuntime.error"
    expect_error "$1: vtpmctl state verify" "${3:-${2%% .\**}}" vtpmctl state verify mine
}

put() { # FOLDER
    rm -rf "$STATES/mine"
    cp --archive "$WORK/$1" "$STATES/mine"
}

put newest
refused "an older state" 'generation [0-9]+, older than the last one seen, [0-9]+ .*vtpmctl state accept'
vtpmctl state accept mine --yes
vtpmctl state verify mine
container_start mine
expect_equal "the endorsement key" "$key" "$(endorsement_key mine)"
expect_equal "NV indexes of an older state" '' "$(container_exec mine tpm2_getcap handles-nv-index)"
container_stop mine

rm -rf "$STATES/mine"
refused "a lost state" 'it existed and is missing .*vtpmctl state reset' 'cannot find the state "mine": there is none'
put current
vtpmctl state accept mine --yes

# Purged and restored: the host does not know it any more.
vtpmctl state purge mine --yes
[[ ! -e $STATES/mine ]] || fail "the purged state's directory is there"
put current
refused "a state that the host does not know" "index does not know it: it was copied or restored .*vtpmctl state accept"
vtpmctl state accept mine --yes
vtpmctl state verify

mv /var/lib/container-vtpm/index/index "$WORK/index"
refused "a host without its index" 'it is missing, and there are states that it should know .*vtpmctl state accept --all'
expect_error "accepting without a confirmation" 'nobody has confirmed it' vtpmctl state accept --all
vtpmctl state accept --all --yes
vtpmctl state verify
container_start mine
expect_equal "the endorsement key" "$key" "$(endorsement_key mine)"
container_stop mine
