# What `vtpmctl state` shows and does: for states in use and not, and never without a confirmation.
# Runtimes: runc
. "$GUEST/lib.sh"

expect_equal "states of a new host" '[

]' "$(vtpmctl state list --json)"
container_start web
key=$(endorsement_key web)

state_field() { # ID NAME
    vtpmctl state show "$1" | jq --raw-output --arg name "$2" '.[$name]'
}

expect_equal "who uses it" web "$(state_field web inUseBy)"
expect_match "the table" 'web +web +[0-9]+ +[0-9]+ +[0-9a-f]{8} .* no +-' "$(vtpmctl state list)"
# The shell completes the names that the tables have.
offers() { # WORD...: what bash offers for the last word
    bash -c '. /usr/share/bash-completion/completions/vtpmctl
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        _vtpmctl vtpmctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[*]}"' bash "$@"
}
expect_equal "states to complete" web "$(offers vtpmctl state show w)"
expect_equal "containers to complete" web "$(offers vtpmctl log w)"
states=$(state_snapshot)
for verb in 'rename web new' 'purge web --yes' 'reset web --yes' 'accept web --yes' "export web $WORK/export --swtpm"; do
    # shellcheck disable=SC2086 # words are meant
    expect_failure "$verb of a state in use" vtpmctl state $verb 2>"$WORK/error"
    expect_match "$verb" 'container "web" uses it \(init [0-9]+' "$(<"$WORK/error")"
done
expect_states "$states"
vtpmctl state backup "$WORK/backup"
expect_equal "the files of the backup" 'index/index index/journal.1 index/tree.1 states/web/state' \
    "$(cd "$WORK/backup" && find . -type f -printf '%P\n' | sort | paste --serial --delimiters ' ')"
expect_error "a backup into the same directory" 'there is something of that name' vtpmctl state backup "$WORK/backup"
mkdir --mode 0777 "$WORK/open"
expect_error "a backup where others can write" 'another user could change it' vtpmctl state backup "$WORK/open/backup"
container_stop web
vtpmctl state purge web --yes
cp --archive "$WORK/backup/." /var/lib/container-vtpm/
expect_equal "the restored states" 'good: web' "$(vtpmctl state verify)"
container_start web
expect_equal "the endorsement key after the restore" "$key" "$(endorsement_key web)"
container_stop web
expect_equal "who uses it" null "$(state_field web inUseBy)"
expect_equal "orphan, with its bundle there" false "$(state_field web isOrphan)"

states=$(state_snapshot)
for verb in 'purge web' 'reset web' 'accept web'; do
    # shellcheck disable=SC2086 # words are meant
    expect_failure "$verb without a confirmation" vtpmctl state $verb 2>"$WORK/error" </dev/null
    expect_match "$verb" 'nobody has confirmed it .*--yes' "$(<"$WORK/error")"
done
expect_states "$states"

vtpmctl state rename web db
expect_error "the old name" 'cannot find the state "web": there is none' vtpmctl state show web
container_start db
expect_equal "the endorsement key under the new name" "$key" "$(endorsement_key db)"
container_stop db

# Out and in again, as two hosts would.
openssl genpkey -algorithm X25519 -out "$WORK/identity.pem" 2>/dev/null
openssl pkey -in "$WORK/identity.pem" -pubout -out "$WORK/recipient.pem"
vtpmctl state export db "$WORK/for-recipient" --recipient "$WORK/recipient.pem"
echo 'a long passphrase' >"$WORK/passphrase"
vtpmctl state export db "$WORK/for-passphrase" --passphrase-file "$WORK/passphrase"
expect_error "overwriting an export" 'File exists' vtpmctl state export db "$WORK/for-passphrase" --swtpm
expect_equal "the export's mode" 600 "$(stat --format %a "$WORK/for-passphrase")"
vtpmctl state purge db --yes
expect_error "importing without a key" 'Give one of --passphrase-file, --identity, --swtpm' vtpmctl state import one "$WORK/for-recipient"
vtpmctl state import one "$WORK/for-recipient" --identity "$WORK/identity.pem"
vtpmctl state import two "$WORK/for-passphrase" --passphrase-file "$WORK/passphrase"
expect_error "importing over a state" 'there is one' \
    vtpmctl state import two "$WORK/for-passphrase" --passphrase-file "$WORK/passphrase"
container_start one
expect_equal "the endorsement key after the import" "$key" "$(endorsement_key one)"
container_stop one

# A new TPM, with the old state kept.
vtpmctl state reset one --yes
expect_equal "states in quarantine" one "$(vtpmctl state quarantine list --json | jq -r '.[].stateID')"
[[ -s $(vtpmctl state quarantine list --json | jq -r '.[].path')/state ]] || fail "the old state is gone"
container_start one
expect_different "the endorsement key after the reset" "$key" "$(endorsement_key one)"
container_stop one
vtpmctl state verify

# States that nobody needs any more: a look changes nothing; what is in use, or has its bundle, stays.
container_start one
states=$(state_snapshot)
expect_equal "orphans, with the bundles there" '' \
    "$(vtpmctl state prune --orphans --unused-for 0s --dry-run)"
expect_match "what would go" '^two: last used ' "$(vtpmctl state prune --unused-for 0s --dry-run)"
expect_equal "what would go, without what is in use" '' \
    "$(vtpmctl state prune --unused-for 0s --dry-run | grep '^one:' || true)"
expect_equal "what its own time has run out for" '' "$(vtpmctl state prune)"
expect_states "$states"
vtpmctl state prune --unused-for 0s --yes >"$WORK/pruned"
expect_match "what went" 'state "two" is in .*/quarantine/' "$(<"$WORK/pruned")"
expect_error "the state that went" 'cannot find the state "two": there is none' vtpmctl state show two
container_stop one
vtpmctl state prune --unused-for 0s --forever --yes >"$WORK/pruned"
expect_match "what went for ever" 'state "one" was removed for ever' "$(<"$WORK/pruned")"
expect_equal "states in the end" '' "$(vtpmctl state list --json | jq -r '.[].stateID')"

# A TPM that is known before its first container, which has it.
vtpmctl state create known --json >"$WORK/identity"
printed=$(jq --raw-output '.endorsementKeys[] | select(.algorithm == "ecc-nist-p256").sha256' "$WORK/identity")
expect_error "making it again" 'cannot create the state "known": there is one' vtpmctl state create known
container_start known
expect_equal "the endorsement key in the container" "$printed" "$(container_shell known '
    tpm2_createek -c /tmp/ek.ctx -G ecc -u /tmp/ek.pem -f pem >/dev/null
    openssl pkey -pubin -in /tmp/ek.pem -outform DER | sha256sum | cut -d " " -f 1')"
container_stop known
