# What others have for TPMs works with one of ours, and after a restart again: a LUKS volume that systemd enrols, a PKCS #11 token.
# Runtimes: runc
WITH_KEYS=yes
. "$GUEST/lib.sh"

with_tpm() { # COMMAND
    (cd "$WORK" && vtpmctl run --state tools -- bash -euo pipefail -c "$1")
}

truncate --size 32M "$WORK/volume"
printf 'a passphrase' >"$WORK/passphrase"
(cd "$WORK" && cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 volume passphrase)
# The volume's key is sealed below the storage key that it finds, and to PCR 7.
with_tpm 'PASSWORD="a passphrase" systemd-cryptenroll --tpm2-device=/dev/tpmrm0 --tpm2-pcrs=7 volume'
# systemd looks for TPMs in sysfs, which shows a command of `vtpmctl run` none: this stands in for the list.
mkdir "$WORK/list" && touch "$WORK/list/tpmrm0"
open='mount --bind list /sys/class/tpmrm && cryptsetup open --test-passphrase --token-only volume && echo opened'
expect_equal "the volume after a restart" opened "$(with_tpm "$open")"
if with_tpm "tpm2_pcrextend 7:sha256=$(printf '%064d' 1) && $open" 2>/dev/null; then fail "the volume is opened with another PCR 7"; fi

token='export TPM2_PKCS11_STORE=$PWD/store TPM2_PKCS11_TCTI=device:/dev/tpmrm0 TPM2TOOLS_TCTI=device:/dev/tpmrm0
    module=(pkcs11-tool --module /usr/lib/*/libtpm2_pkcs11.so.1 --token-label web)'
mkdir "$WORK/store"
printf text >"$WORK/text"
with_tpm "$token"'
    tpm2_ptool init --primary-handle 0x81000001 --path store
    tpm2_ptool addtoken --pid 1 --label web --sopin 5678 --userpin 1234 --path store
    tpm2_ptool addkey --label web --key-label key --userpin 1234 --algorithm ecc256 --path store' >/dev/null
with_tpm "$token"'
    "${module[@]}" --login --pin 1234 --sign --mechanism ECDSA-SHA256 --label key --input-file text --output-file signature \
        --signature-format openssl
    "${module[@]}" --read-object --type pubkey --label key --output-file public.der' >/dev/null
expect_equal "the signature of the token after a restart" 'Verified OK' \
    "$(cd "$WORK" && openssl dgst -sha256 -verify public.der -keyform der -signature signature text)"
