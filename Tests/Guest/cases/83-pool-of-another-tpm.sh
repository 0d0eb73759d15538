# A TPM of the pool is of no use where the host has another TPM than the one beside which it was made.
# Needs: hardware-tpm
# Runtimes: runc
. "$GUEST/lib.sh"

configure </dev/null
echo 'pool = 1' >>/etc/container-vtpm/config.toml
[[ -s /etc/machine-id ]] || echo 0123456789abcdef0123456789abcdef >/etc/machine-id

# The host's TPM keeps no key yet, and is known by how often it was reset.
expect_equal "filling" 'Made 1 TPM; the pool has 1 of 1.' "$(vtpmctl pool fill)"
expect_equal "the pool beside the same TPM" '1 of 1 TPMs' "$(vtpmctl pool show)"
host_srk_replace
expect_equal "the pool beside another TPM" '0 of 1 TPMs' "$(vtpmctl pool show)"
expect_equal "filling beside another TPM" 'Made 1 TPM; the pool has 1 of 1.' "$(vtpmctl pool fill)"
container_start web
expect_equal "the pool after a first start" '0 of 1 TPMs' "$(vtpmctl pool show)"
container_stop web

# By its storage key from here on.
vtpmctl pool fill
host_srk_replace
container_start other
container_stop other
expect_equal "what is left of a pool beside another TPM" '' "$(ls /run/container-vtpm-pool)"
wait_until "the log of what is thrown away" grep -F 'another host made it; it is thrown away' "$SYSLOG"
