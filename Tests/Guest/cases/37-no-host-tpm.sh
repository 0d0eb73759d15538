# A host without a TPM keeps no key and no counter in one, and takes no container's for its own: it refuses, and falls
# back to nothing weaker.
# Runtimes: runc
. "$GUEST/lib.sh"

# A container's TPM is the only one there is; it leaves nothing on disk, so that nothing has a key yet.
container_bundle guest '.annotations["org.container-vtpm.state"] = "ephemeral"'
container_start guest
expect_equal "the vTPM's number" 0 "$(lease_field guest tpmNumber)"
container_bundle second
container_wrap_hooks second

refused() { # WHAT REGEX
    expect_creation_refused second "$2"
    # Neither a weaker key nor a state.
    expect_equal "$1: files that were made" '' "$(find /var/lib/container-vtpm -type f ! -name lock)"
}

configure <<'END'
[key]
source = "host-tpm"
END
refused "a key in a TPM that is not there" 'no TPM'
configure <<'END'
[rollback]
counter = "host-tpm"
END
refused "a counter in a TPM that is not there" 'no TPM'
configure <<'END'
[rollback]
counter = "host-tpm"
[host-tpm]
device = "/dev/tpmrm0"
END
refused "a container's TPM in place of the host's" 'it is tpm0, a vTPM, and no hardware'
container_stop guest

rm -r /etc/container-vtpm
container_start second
container_stop second
