# What the host says of a run is from its own records: the keys, the counts, the launch and the programs are those that the container's
# TPM and the tools of others show.
# Guests: debian-12 debian-13
# Runtimes: runc
WITH_KEYS=yes
. "$GUEST/lib.sh"

configure <<<'[manufacture]
keys = ["ek-p256"]'

manifest() { # JQ
    vtpmctl proof manifest web | jq --raw-output --exit-status "$1"
}

name() { # ID COMMAND-THAT-WRITES-/tmp/key.ctx
    container_shell "$1" "$2 >/dev/null && tpm2_readpublic -Q -c /tmp/key.ctx -n /tmp/name && od -An -v -tx1 /tmp/name | tr -d ' \n'"
}

container_start web
vtpmctl proof manifest web >"$WORK/manifest"
expect_equal "the manifest, as jq writes it" "$(jq --compact-output . "$WORK/manifest")" "$(<"$WORK/manifest")"
expect_equal "the container" web "$(manifest .container)"
expect_equal "the bundle" "$BUNDLES/web" "$(manifest .bundle)"
expect_equal "the state" web "$(manifest .state)"
expect_equal "the instance" "$(vtpmctl ek web --json | jq --raw-output .instance)" "$(manifest .instance)"
expect_equal "the endorsement key" "$(name web 'tpm2_createek -Q -G ecc -c /tmp/key.ctx')" \
    "$(manifest '.endorsementKeys["ecc-nist-p256"]')"
container_exec web tpm2_flushcontext -t
quoting='tpm2_createprimary -Q -C e -G ecc256:ecdsa-sha256:null -a "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign" -c /tmp/key.ctx'
expect_equal "the quoting key" "$(name web "$quoting")" "$(manifest .quotingKey)"
container_exec web tpm2_flushcontext -t
for index in 17 18; do
    expect_equal "PCR $index" "$(pcr web "$index" | tr A-F a-f)" "$(manifest ".launch.pcr$index")"
done
for count in resetCount:reset_count restartCount:restart_count; do
    expect_equal "${count%:*}" "$(container_exec web tpm2_readclock | sed -n "s/ *${count#*:}: //p")" "$(manifest ".${count%:*}")"
done
expect_equal "the counter of a host without one" null "$(vtpmctl proof manifest web | jq .counter)"

# The programs that run, wherever the paths lead by now.
worker=$(lease_field web workerPID)
for program in vtpm-hook vtpm-supervisor vtpm-worker; do
    expect_equal "the digest of $program" "$(sha256sum <"/usr/libexec/container-vtpm/$program" | cut -d' ' -f1)" \
        "$(manifest ".software.digests[\"$program\"]")"
done
for library in libtpms libcrypto; do
    path=$(sed -n "s/.* \(\/.*\/$library\.so.*\)/\1/p" "/proc/$worker/maps" | head -n 1)
    expect_equal "the digest of $library" "$(sha256sum <"$path" | cut -d' ' -f1)" "$(manifest ".software.digests.$library")"
done
expect_equal "the version" "$(vtpmctl version)" "vtpmctl $(manifest .software.version)"

# The next run of it.
first=$(manifest .resetCount)
container_stop web
container_start web
expect_equal "the starts" "$((first + 1))" "$(manifest .resetCount)"
expect_match "the generation" '^[1-9][0-9]*$' "$(manifest .generation)"
container_stop web

configure <<<'[launch]
measure = false'
container_start web
expect_error "a manifest of what was not measured" 'its launch was not measured' vtpmctl proof manifest web
container_stop web
expect_error "a manifest of none" 'no container of this ID has a TPM' vtpmctl proof manifest web
