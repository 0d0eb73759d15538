# With a counter in the host's TPM, states and index that were put back together are found out, and so is a copy on a
# host with another TPM.
# Needs: hardware-tpm
# Runtimes: runc
. "$GUEST/lib.sh"

readonly store=/var/lib/container-vtpm

configure <<'END'
[rollback]
counter = "host-tpm"
END
container_start web
key=$(endorsement_key web)
container_stop web
cp --archive "$store" "$WORK/earlier"

# Crash after a start: the last start is what the host remembers, and everything goes on.
container_start web
container_shell web 'tpm2_nvdefine 0x1500001 -C o -s 7 -a "ownerread|ownerwrite"' >/dev/null
kill -KILL "$(lease_field web supervisorPID)" "$(lease_field web workerPID)"
container_kill web
wait_until "the container to stop" container_is_stopped web
runtime delete web
container_start web
expect_match "NV indexes after a crash" 0x1500001 "$(container_exec web tpm2_getcap handles-nv-index)"
container_stop web
cp --archive "$store" "$WORK/latest"
container_wrap_hooks web

put() { # FOLDER
    rm -rf "$store"
    cp --archive "$WORK/$1" "$store"
}

put earlier
states=$(state_snapshot)
expect_creation_refused web 'an earlier one was put back.*vtpmctl state accept --all'
expect_states "$states"
put latest
container_start web
expect_equal "the endorsement key" "$key" "$(endorsement_key web)"
container_stop web
cp --archive "$store" "$WORK/latest"

# The counter's value stays out of reach: writes in between raise nothing.
counter() { host_tpm tpm2_nvread 0x01807654 | xxd -plain; }
container_start web
before=$(counter)
generation=$(vtpmctl list --json | jq '.[0].generation')
container_shell web 'for n in 1 2 3; do tpm2_nvdefine 0x150001$n -C o -s 7; done' >/dev/null
(($(vtpmctl list --json | jq '.[0].generation') >= generation + 3)) || fail "nothing was written in between"
expect_equal "the counter after some writes" "$before" "$(counter)"
container_stop web
expect_different "the counter after the stop" "$before" "$(counter)"

# Protection is not lost by configuration, and not by removing the index.
rm /etc/container-vtpm/config.toml
expect_creation_refused web "bound to the host TPM's counter"
configure <<'END'
[rollback]
counter = "host-tpm"
END
mv "$store" "$WORK/all"
expect_creation_refused web "the host's TPM has a counter of ours"
rm -rf "$store"
mv "$WORK/all" "$store"

# What an operator does who knows better.
put earlier
vtpmctl state accept --all --yes
container_start web
expect_equal "the endorsement key of the accepted state" "$key" "$(endorsement_key web)"
container_stop web

# The same disk in a host with another TPM.
host_tpm_clear >/dev/null
states=$(state_snapshot)
expect_creation_refused web 'storage key.*TPM'
expect_states "$states"
