# A first start takes its TPM out of the pool, which is filled ahead of need: no TPM goes to two containers, and none to a container
# on another host than the one that made it.
# Guests: debian-12 debian-13
# Runtimes: runc
WITH_KEYS=yes
. "$GUEST/lib.sh"

readonly pool=/run/container-vtpm-pool

with_pool() { # SIZE
    configure <<<"[manufacture]
pool = $1"
}

public_key() { # ID
    container_shell "$1" "tpm2_readpublic -Q -c 0x8101000a -f pem -o /tmp/key.pem && sha256sum </tmp/key.pem"
}

machine_id() { # DIGITS
    echo "$1" >"$WORK/machine-id"
    [[ -e /etc/machine-id ]] || touch /etc/machine-id
    mountpoint --quiet /etc/machine-id || mount --bind "$WORK/machine-id" /etc/machine-id
}
trap 'status=$?; ! mountpoint --quiet /etc/machine-id || umount --lazy /etc/machine-id; (exit "$status"); end_case' EXIT

machine_id 0123456789abcdef0123456789abcdef
expect_equal "a host without a pool" 'The configuration names no pool.' "$(vtpmctl pool fill)"
with_pool 2
expect_equal "the empty pool" '0 of 2 TPMs' "$(vtpmctl pool show)"
expect_equal "filling" 'Made 2 TPMs; the pool has 2 of 2.' "$(vtpmctl pool fill)"
expect_equal "filling again" 'The pool is full.' "$(vtpmctl pool fill)"
expect_equal "what others can read of it" '' "$(find "$pool" -mindepth 1 ! -perm 0600)"

container_start web
expect_equal "the pool after a first start" '{"ready":1,"size":2}' "$(vtpmctl pool show --json | jq --compact-output .)"
expect_equal "the handles" '- 0x81000001 - 0x81010001 - 0x8101000A' \
    "$(container_exec web tpm2_getcap handles-persistent | tr '\n' ' ' | sed 's/ $//')"
vtpmctl ca show >"$WORK/ca.pem"
container_shell web "cd /tmp && tpm2_getekcertificate -o rsa.der -o ecc.der 2>/dev/null && base64 ecc.der" | base64 --decode |
    openssl x509 -inform der >"$WORK/ecc.pem"
openssl verify -x509_strict -CAfile "$WORK/ca.pem" "$WORK/ecc.pem"
web=$(public_key web)
container_stop web
container_start web
expect_equal "the key after a restart" "$web" "$(public_key web)"
expect_equal "the pool after a restart" '1 of 2 TPMs' "$(vtpmctl pool show)"
container_stop web

container_start other
expect_different "the keys of two containers" "$web" "$(public_key other)"
expect_equal "the pool after two first starts" '0 of 2 TPMs' "$(vtpmctl pool show)"
# The next one is made as without a pool.
container_start next
expect_different "the keys of two containers" "$(public_key other)" "$(public_key next)"
container_stop next
container_stop other

# What is in memory is in no backup.
vtpmctl pool fill
vtpmctl state backup "$WORK/backup"
expect_equal "TPMs of the pool in a backup" '' "$(grep --recursive --files-with-matches CVTPMPL "$WORK/backup" || true)"

# Another host, by its machine ID.
machine_id fedcba9876543210fedcba9876543210
expect_equal "the pool of another host" '0 of 2 TPMs' "$(vtpmctl pool show)"
container_start third
expect_equal "what the other host leaves" '' "$(ls "$pool")"
wait_until "the log of what is thrown away" grep -F 'another host made it; it is thrown away' "$SYSLOG"
container_stop third

# Other keys than before: what is there is thrown away also where the pool is full.
vtpmctl pool fill
configure <<<'[manufacture]
keys = ["ek-p256"]
pool = 2'
expect_equal "filling with other keys" 'Made 2 TPMs; the pool has 2 of 2.' "$(vtpmctl pool fill)"
with_pool 2
expect_equal "the pool of other keys" '0 of 2 TPMs' "$(vtpmctl pool show)"

# Another master key.
vtpmctl pool fill
vtpmctl key rotate --yes >/dev/null
expect_equal "the pool after a change of the master key" '' "$(ls "$pool")"
expect_equal "filling under the new key" 'Made 2 TPMs; the pool has 2 of 2.' "$(vtpmctl pool fill)"
expect_equal "emptying" 'Threw away 2 TPMs.' "$(vtpmctl pool clear)"
