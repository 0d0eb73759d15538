# The master key sealed to the host's TPM: it is nowhere on disk, other PCRs or another storage key refuse, and a saved
# key is the way back.
# Needs: hardware-tpm
# Runtimes: runc
. "$GUEST/lib.sh"

configure <<'END'
[key]
source = "host-tpm"
END
container_start web
key=$(endorsement_key web)
container_stop web
expect_match "what vtpmctl doctor finds about the host's TPM" 'ok +host-tpm +/dev/tpmrm[0-9]+ answers, and has our counter' \
    "$(vtpmctl doctor)"
expect_equal "the files with keys" master.sealed "$(ls /var/lib/container-vtpm/keys)"
container_start web
expect_equal "the endorsement key" "$key" "$(endorsement_key web)"
container_stop web

echo 'a long passphrase' >"$WORK/passphrase"
authority=$(vtpmctl ca show)
vtpmctl key export "$WORK/saved" --passphrase-file "$WORK/passphrase"
container_wrap_hooks web
states=$(state_snapshot)

# A PCR that the policy does not name changes nothing; one that it names does.
host_pcr_extend 15 "whatever"
container_start web
container_stop web
states=$(state_snapshot)
host_pcr_extend 9 "another kernel"
expect_creation_refused web 'PCRs.*sha256:0-4,6-14.*vtpmctl key import'
expect_states "$states"
expect_error "importing without a confirmation" 'nobody has confirmed it' \
    vtpmctl key import "$WORK/saved" --passphrase-file "$WORK/passphrase"
# The certificate authority's key is saved with it.
rm /var/lib/container-vtpm/keys/authority.key
vtpmctl key import "$WORK/saved" --passphrase-file "$WORK/passphrase" --yes
expect_equal "the certificate authority after the import" "$authority" "$(vtpmctl ca show)"
container_start web
expect_equal "the endorsement key after the import" "$key" "$(endorsement_key web)"
container_stop web

# To another key under the policy, with a container running.
container_start web
vtpmctl key rotate --yes
container_stop web
container_start web
expect_equal "the endorsement key after the rotation" "$key" "$(endorsement_key web)"
container_stop web

states=$(state_snapshot)
host_srk_replace
expect_creation_refused web 'storage key|SRK'
expect_states "$states"
