# A host is enrolled by its TPM with the tools of others, a container's proof is what the verifier's policy wants, and is refused for
# another nonce, another image, another boot, another run and another host.
# Needs: hardware-tpm
# Runtimes: runc
WITH_KEYS=yes
. "$GUEST/lib.sh"

configure <<<'[manufacture]
keys = ["ek-p256"]
[rollback]
counter = "host-tpm"'
cd "$WORK"
container_start web
expect_error "a proof of a host that nobody knows" 'vtpmctl host enroll makes it' vtpmctl proof collect --nonce 0011223344556677 web proof
expect_error "the key of such a host" 'it has none yet' vtpmctl host show

# As docs/proof.md has it.
bash -euo pipefail -c "$(commands_of proof.md 'Enroll a host')"
TPM2TOOLS_TCTI=none bash -c "$(commands_of proof.md 'As the verifier')"
cmp secret opened || fail "the host opened another secret"
expect_equal "the name of the key" "$(<enrolled/attestation-key.name)" "$(vtpmctl host show | head -n 1)"
expect_equal "the mode of the key's file" 600 "$(stat --format %a /var/lib/container-vtpm/keys/attestation.key)"
expect_equal "what is left in the host's TPM" '' "$(host_tpm tpm2_getcap handles-transient; host_tpm tpm2_getcap handles-loaded-session)"

expect_error "the key beside another endorsement key" 'it was made for another endorsement key' \
    vtpmctl host enroll --endorsement-key rsa-2048 again
[[ ! -e again ]] || fail "a directory was left"

policy() { # LAUNCH [MORE]
    echo "{\"version\": 1, \"hosts\": [{\"name\": \"here\", \"attestationKey\": \"$(<enrolled/attestation-key.name)\",
        \"pcrs\": {\"15\": [\"$(host_tpm tpm2_pcrread sha256:15 | sed -n 's/ *15: 0x//p')\"]}}],
        \"launches\": [\"$1\"]${2:-}}" >policy.json
    chmod a+r policy.json
}
collect() { # CONTAINER
    rm -rf proof
    nonce=$(head -c 20 /dev/urandom | xxd -plain)
    vtpmctl proof collect --nonce "$nonce" "$1" proof
    chmod -R a+rX proof
}
verify() { # NONCE
    # By somebody who has no right of root's.
    setpriv --reuid 65534 --regid 65534 --clear-groups vtpmctl proof verify --nonce "$1" --policy policy.json proof
}
chmod 0755 "$WORK"
launch=$(vtpmctl launch predict "$BUNDLES/web" | sed -n 's/^17 *sha256 *//p')
policy "$launch"
collect web
expect_equal "the verdict" 'proven: container "web", state "web", host "here"' "$(verify "$nonce")"
expect_match "the counter that is proven" '^[0-9]+$' "$(jq --raw-output .counter.value proof/manifest.json)"
if grep -r --text hunter2 proof; then fail "the proof has a secret of the environment"; fi
expect_error "another nonce" 'refused: it is for another nonce' verify 00112233445566778899
policy "$launch" ', "images": ["sha256:aa"]'
expect_error "an image that nobody states" 'refused: the image is not stated' verify "$nonce"
policy "$(printf '%064d' 0)"
expect_error "another launch" "refused: the launch is another: PCR 17 is $launch" verify "$nonce"
policy "$launch"

# The tenant appends to a register, and clears its TPM.
container_exec web tpm2_pcrextend "11:sha256=$launch"
collect web
expect_error "a register that was appended to" 'refused: PCR 11 of the container' verify "$nonce"
container_exec web tpm2_clear -Q -c l
collect web
expect_error "a TPM that was cleared" 'refused: the container.s quote is of another run' verify "$nonce"
container_stop web
container_start web
collect web
expect_match "the verdict on the next run" '^proven: ' "$(verify "$nonce")"

# The tenant's authorization stands in the way of a quote, and of nothing else.
container_exec web tpm2_changeauth -Q -c e secret
rm -rf proof
expect_error "a hierarchy that the tenant has closed" 'the container has set an authorization' \
    vtpmctl proof collect --nonce "$nonce" web proof
container_stop web
container_start other
policy "$(vtpmctl launch predict "$BUNDLES/other" | sed -n 's/^17 *sha256 *//p')"

# Another master key, and then another boot of the host.
vtpmctl key rotate --yes
collect other
expect_match "the verdict after a rotation" '^proven: ' "$(verify "$nonce")"
vtpmctl state backup "$WORK/backup"
expect_equal "the keys in a backup" 'attestation.key authority.key' "$(echo $(ls "$WORK/backup/keys"))"
host_pcr_extend 15 "another system"
collect other
expect_error "a host that was booted otherwise" 'refused: PCR 15 of the host is' verify "$nonce"

# Another attestation key: nobody knows it.
expect_error "a key of another kind" 'the host has one of the kind ecc-nist-p256' vtpmctl host enroll --attestation-key rsa-2048 enrolled-again
vtpmctl host enroll --new --attestation-key rsa-2048 --yes enrolled-again
collect other
expect_error "a host that was enrolled again" 'refused: the policy knows no host' verify "$nonce"
name=$(vtpmctl host show | head -n 1)
expect_error "a directory that is there" 'File exists' vtpmctl host enroll enrolled
expect_error "another key for a directory that is there" 'File exists' vtpmctl host enroll --new --yes enrolled
expect_equal "the key after that" "$name" "$(vtpmctl host show | head -n 1)"
container_stop other
