# shellcheck shell=bash
# The host's hardware TPM, for cases with the line `# Needs: hardware-tpm`. It is an emulated one in a machine of its
# own, and nothing here works on any other.
#
# It is cleared before each case; its PCRs cannot be, so that a case finds in them what the firmware and earlier cases
# have put there. Nobody has the platform hierarchy: the firmware gives it a random authorization.

readonly HOST_SRK=0x81000001

# Runs one of tpm2-tools with the host's TPM.
host_tpm() { # COMMAND...
    if [[ ${HOST_TPM:-} != emulated ]]; then
        echo "cannot use the host's TPM: this case lacks the line '# Needs: hardware-tpm'" >&2
        return 1
    fi
    TPM2TOOLS_TCTI=device:/dev/tpmrm0 "$@"
}

# Prints the name of the host's TPM: of all TPMs only it has hardware behind it, and it is the first.
host_tpm_device() {
    local tpm devices=()
    for tpm in /sys/class/tpm/tpm*; do
        [[ ! -e $tpm/device ]] || devices+=("${tpm##*/}")
    done
    if [[ ${devices[*]} != tpm0 ]]; then
        echo "expected tpm0 to be the one TPM with hardware, found: ${devices[*]:-none}" >&2
        return 1
    fi
    echo "${devices[0]}"
}

# Removes keys, NV indexes and authorizations, also after a dictionary attack, and zeroes PCR 16 and 23.
host_tpm_clear() {
    host_tpm_device >/dev/null &&
        host_tpm tpm2_dictionarylockout --clear-lockout &&
        host_tpm tpm2_clear --auth-hierarchy=l &&
        host_tpm tpm2_pcrreset 16 23
}

host_pcr() { # INDEX
    host_tpm tpm2_pcrread "sha256:$1" | sed -n 's/^ *[0-9]* *: 0x//p'
}

host_pcr_extend() { # INDEX TEXT
    local digest
    digest=$(sha256sum <<<"$2")
    host_tpm tpm2_pcrextend "$1:sha256=${digest%% *}"
}

# Makes a storage root key that no one has seen before, and puts it into the place of the one that may be there.
host_srk_replace() {
    local folder status=0
    folder=$(mktemp --directory) || return
    {
        { ! host_srk_exists || host_tpm tpm2_evictcontrol --hierarchy=o --object-context="$HOST_SRK"; } &&
            # The point of the template, as it lies in memory: the size of x, then x.
            { printf '\x20\x00' && head --bytes=32 /dev/urandom; } >"$folder/unique" &&
            host_tpm tpm2_createprimary --hierarchy=o --key-algorithm=ecc --unique-data="$folder/unique" \
                --key-context="$folder/context" &&
            host_tpm tpm2_evictcontrol --hierarchy=o --object-context="$folder/context" "$HOST_SRK"
    } >/dev/null || status=$?
    rm -rf "$folder"
    return "$status"
}

host_srk_exists() {
    host_persistent_handles | grep --quiet "^$HOST_SRK$"
}

host_persistent_handles() {
    host_tpm tpm2_getcap handles-persistent | sed 's/^- //'
}

# Everything in the host's TPM that lasts, in a form that `diff` can compare: PCRs, authorizations, dictionary-attack
# counter, names of persistent keys, and NV indexes with their content where the owner may read it.
host_tpm_contents() {
    local handle index handles indexes
    host_tpm tpm2_pcrread || return
    host_tpm tpm2_getcap properties-variable >"$WORK/properties" || return
    grep --extended-regexp 'AuthSet|disableClear|inLockout|Enable|LOCKOUT_COUNTER|NV_INDEX|PERSISTENT' "$WORK/properties"
    handles=$(host_persistent_handles) || return
    for handle in $handles; do
        echo "persistent $handle"
        host_tpm tpm2_readpublic --object-context="$handle" || return
    done
    indexes=$(host_tpm tpm2_getcap handles-nv-index | sed 's/^- //') || return
    for index in $indexes; do
        echo "NV index $index"
        host_tpm tpm2_nvreadpublic "$index" || return
        host_tpm tpm2_nvread --hierarchy=o "$index" 2>/dev/null | xxd -plain || echo "not readable"
    done
}

# The fingerprint of the host's endorsement key, as `endorsement_key` has it of a container's.
host_endorsement_key() {
    host_tpm tpm2_createek --ek-context="$WORK/host-ek.context" --key-algorithm=ecc --public="$WORK/host-ek.public" \
        >/dev/null && sha256sum <"$WORK/host-ek.public" | cut -d ' ' -f 1
}
