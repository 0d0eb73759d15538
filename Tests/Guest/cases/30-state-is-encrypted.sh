# What is stored on disk holds no plaintext of the TPM: neither libtpms' blob nor a key's bytes.
# Guests: debian-12 debian-13
# Runtimes: runc
. "$GUEST/lib.sh"

# The magic number with which libtpms begins the persistent part of its blob (seen at byte 18 of one).
readonly blob_magic=ab364723

contains() { # FILE HEX
    # Line breaks out, so that a match cannot be torn; tr's output has nothing else.
    xxd -plain "$1" | tr -d '\n' | grep --quiet "$2"
}

container_start secret
container_shell secret '
    tpm2_createek -c 0x81010001 -G rsa -u /tmp/ek.pub 2>/dev/null || true
    tpm2_readpublic -c 0x81010001 -f pem -o /tmp/ek.pem >/dev/null
    tpm2_nvdefine 0x1500001 -C o -s 32 -a "ownerread|ownerwrite" >/dev/null
    echo -n 0123456789abcdef0123456789abcdef | tpm2_nvwrite 0x1500001 -C o -i -'
modulus=$(container_exec secret openssl rsa -pubin -in /tmp/ek.pem -noout -modulus |
    sed 's/^Modulus=//' | tr '[:upper:]' '[:lower:]')
expect_equal "hex digits in the endorsement key's modulus" 512 "${#modulus}"
nv_content=$(echo -n 0123456789abcdef0123456789abcdef | xxd -plain | tr -d '\n')

# The search itself, on a file that holds all of it.
echo "00$blob_magic$modulus$nv_content" | xxd -plain -revert >"$WORK/plaintext"
for searched in "$blob_magic" "$modulus" "$nv_content"; do
    contains "$WORK/plaintext" "$searched" || fail "the search does not find $searched where it is"
done

check() { # WHEN
    local file searched
    [[ -s $STATES/secret/state ]] || fail "there is no state file"
    find /var/lib/container-vtpm -type f >"$WORK/files"
    while read -r file; do
        for searched in "$blob_magic" "$modulus" "$nv_content"; do
            ! contains "$file" "$searched" || fail "$file holds $searched in plaintext $1"
        done
        expect_match "the mode of $file" '^[46]00 0:0$' "$(stat --format '%a %u:%g' "$file")"
    done <"$WORK/files"
}

check "while the container runs"
container_stop secret
check "after the container has stopped"
expect_equal "the master key's mode" '600 0:0' "$(stat --format '%a %u:%g' "$MASTER_KEY")"
