# The first container on a host needs no set-up: the hook loads the kernel's module when /dev/vtpmx is missing.
# Guests: debian-12 debian-13
# Runtimes: runc
. "$GUEST/lib.sh"

modprobe --remove tpm_vtpm_proxy 2>/dev/null || fail "cannot unload tpm_vtpm_proxy to begin without it"
[[ ! -e /dev/vtpmx ]] || fail "/dev/vtpmx is there without the module"

container_start first
container_exec first tpm2_getrandom --hex 8
container_stop first
