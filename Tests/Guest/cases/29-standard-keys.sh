# A TPM has endorsement keys and a storage root key where verifiers and tools look for them, with certificates of the host's authority,
# from its first start on, and the next start puts back what TPM2_Clear has taken away. Where its tenant stands in the way, the
# container starts without.
# Guests: debian-12 debian-13
# Runtimes: runc
WITH_KEYS=yes
. "$GUEST/lib.sh"

readonly all='- 0x81000001 - 0x81010001 - 0x8101000A'

handles() { # ID
    container_exec "$1" tpm2_getcap handles-persistent | tr '\n' ' ' | sed 's/ $//'
}

public_key() { # ID HANDLE
    container_shell "$1" "tpm2_readpublic -Q -c $2 -f pem -o /tmp/key.pem && sha256sum </tmp/key.pem"
}

# The certificate of a key as the container reads it, in PEM; the first argument of tpm2_getekcertificate is RSA's.
certificate() { # ID rsa|ecc
    container_shell "$1" "cd /tmp && tpm2_getekcertificate -o rsa.der -o ecc.der 2>/dev/null && base64 $2.der" |
        base64 --decode | openssl x509 -inform der
}

container_start keys
expect_equal "the handles of a new TPM" "$all" "$(handles keys)"
for pair in rsa:0x81010001 ecc:0x8101000a; do
    algorithm=${pair%:*} handle=${pair#*:}
    made=$(container_shell keys "tpm2_createek -Q -c /tmp/ek.ctx -G $algorithm -f pem -u /tmp/ek.pem && sha256sum </tmp/ek.pem")
    expect_equal "the key at $handle, as tpm2_createek makes it" "$made" "$(public_key keys "$handle")"
    container_shell keys "
        set -e
        cd /tmp
        tpm2_createak -Q -C $handle -c ak.ctx -G ecc -g sha256 -s ecdsa -n ak.name
        tpm2_readpublic -Q -c $handle -o ek.tpm2b
        printf 0123456789abcdef >secret
        tpm2_makecredential -Q -T none -u ek.tpm2b -s secret -n \$(od -An -v -tx1 ak.name | tr -d ' \\n') -o blob
        tpm2_startauthsession -Q --policy-session -S session
        tpm2_policysecret -Q -S session -c e
        tpm2_activatecredential -Q -c ak.ctx -C $handle -i blob -o opened -P session:session
        cmp secret opened
        tpm2_flushcontext -Q session"
done
vtpmctl ca show >"$WORK/ca.pem"
for pair in rsa:rsa-2048:0x81010001 ecc:ecc-nist-p256:0x8101000a; do
    IFS=: read -r algorithm kind handle <<<"$pair"
    certificate keys "$algorithm" >"$WORK/$algorithm.pem"
    openssl verify -x509_strict -CAfile "$WORK/ca.pem" "$WORK/$algorithm.pem"
    expect_equal "the certificate of $kind that the host knows" "$(cat "$WORK/$algorithm.pem")" \
        "$(vtpmctl ek keys --print certificate --key "$kind")"
    expect_equal "the key in the certificate of $kind" "$(public_key keys "$handle")" \
        "$(openssl x509 -in "$WORK/$algorithm.pem" -noout -pubkey | sha256sum)"
done
if container_shell keys 'echo x | tpm2_nvwrite -Q -C o -i - 0x1c00002' 2>/dev/null; then fail "the container can change its certificate"; fi
expect_equal "the authorities that are left" '' "$(pgrep -x vtpm-ca || true)"
rsa=$(public_key keys 0x81010001) ecc=$(public_key keys 0x8101000a) storage=$(public_key keys 0x81000001)
container_exec keys tpm2_clear -Q -c l
expect_equal "the handles after TPM2_Clear" '' "$(handles keys)"
container_stop keys

container_start keys
expect_equal "the handles after a restart" "$all" "$(handles keys)"
expect_equal "the RSA key after TPM2_Clear and a restart" "$rsa" "$(public_key keys 0x81010001)"
expect_equal "the ECC key after TPM2_Clear and a restart" "$ecc" "$(public_key keys 0x8101000a)"
expect_equal "the RSA certificate after TPM2_Clear and a restart" "$(cat "$WORK/rsa.pem")" "$(certificate keys rsa)"
expect_different "the storage root key, whose seed TPM2_Clear has replaced" "$storage" "$(public_key keys 0x81000001)"
container_shell keys 'tpm2_evictcontrol -Q -C o -c 0x81010001 && tpm2_changeauth -Q -c o secret'
container_stop keys

container_start keys
expect_equal "the handles where the owner has set an authorization" '- 0x81000001 - 0x8101000A' "$(handles keys)"
container_stop keys
wait_until "the log of what stands in the way" grep -F \
    'cannot put the key ek-rsa-2048 at 0x81010001: the tenant has set an authorization of' "$SYSLOG"

configure <<<'[manufacture]
keys = []'
container_start none
expect_equal "the handles of a TPM without keys" '' "$(handles none)"
container_stop none

# What is revoked, verifiers refuse; the rest they accept.
expect_match "what is revoked" '2 of 2 certificates are revoked now' "$(vtpmctl ca revoke --yes keys)"
# One of them by its number is revoked already, and another number is not.
serial=$(openssl x509 -in "$WORK/rsa.pem" -noout -serial | sed 's/.*=//')
expect_match "what is revoked" '0 of 1 certificates are revoked now' "$(vtpmctl ca revoke --serial "$serial")"
expect_match "what is revoked" '1 of 1 certificates are revoked now' "$(vtpmctl ca revoke --serial 01:02)"
expect_error "a number that is none" 'is no serial number' vtpmctl ca revoke --serial xyz
expect_error "a revocation that nobody has confirmed" 'nobody has confirmed it' vtpmctl ca revoke keys
vtpmctl ca crl >"$WORK/crl.pem"
for algorithm in rsa ecc; do
    verdict=$(openssl verify -crl_check -CAfile "$WORK/ca.pem" -CRLfile "$WORK/crl.pem" "$WORK/$algorithm.pem" 2>&1) &&
        fail "a revoked certificate is accepted: $verdict"
    expect_match "what openssl says of it" 'certificate revoked' "$verdict"
done

configure <<<'[manufacture]
keys = ["ek-p384"]
pcr-banks = ["sha256", "sha384"]
platform-manufacturer = "Example"
platform-model = "Guest"
platform-version = "1"
annotations = true
[authority]
crl-url = "http://example.org/host-ca.crl"'
container_bundle further '.annotations["org.container-vtpm.keys"] = "ek-p256,ek-p384,iak-p384,idevid-p384,ecc-ek"'
container_start further
expect_equal "the handles that an annotation chooses" '- 0x81010002 - 0x8101000A - 0x81010016 - 0x81020000 - 0x81020001' \
    "$(handles further)"
expect_equal "the banks of PCRs" 'sha256 sha384' \
    "$(container_exec further tpm2_getcap pcrs | sed -n 's/^ *- \([a-z0-9]*\): \[ [0-9].*/\1/p' | tr '\n' ' ' | sed 's/ $//')"
for trio in ecc-nist-p384:0x81010016:0x1c00016 iak:0x81020001:0x1c90100 idevid:0x81020000:0x1c90200; do
    IFS=: read -r kind handle index <<<"$trio"
    container_shell further "tpm2_nvread $index 2>/dev/null | base64" | base64 --decode | openssl x509 -inform der >"$WORK/$kind.pem"
    openssl verify -x509_strict -crl_check -CAfile "$WORK/ca.pem" -CRLfile "$WORK/crl.pem" "$WORK/$kind.pem"
    expect_equal "the certificate of $kind that the host knows" "$(cat "$WORK/$kind.pem")" \
        "$(vtpmctl ek further --print certificate --key "$kind")"
    expect_equal "the key in the certificate of $kind" "$(public_key further "$handle")" \
        "$(openssl x509 -in "$WORK/$kind.pem" -noout -pubkey | sha256sum)"
done
container_shell further "tpm2_nvread 0x1c08000 2>/dev/null | base64" | base64 --decode | openssl x509 -inform der >"$WORK/platform.pem"
openssl verify -x509_strict -CAfile "$WORK/ca.pem" "$WORK/platform.pem"
expect_equal "the platform's certificate that the host knows" "$(cat "$WORK/platform.pem")" \
    "$(vtpmctl ek further --print platform-certificate)"
container_stop further

# A program of the operator's signs in place of a key, and lets the hook start it under AppArmor.
signer=/usr/share/container-vtpm/hooks/signer/openssl-signer
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out /etc/container-vtpm/signer.key 2>/dev/null
openssl req -x509 -key /etc/container-vtpm/signer.key -out /etc/container-vtpm/signer.pem -subj /CN=operator -days 30 \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign
configure <<<"[authority]
certificates = \"/etc/container-vtpm/signer.pem\"
command = [\"$signer\", \"/etc/container-vtpm/signer.pem\", \"-CAkey\", \"/etc/container-vtpm/signer.key\"]"
profiles() { [[ -e /sys/fs/selinux/enforce ]] || apparmor_parser --replace --skip-cache /etc/apparmor.d/vtpm-{hook,supervisor} /etc/apparmor.d/vtpmctl; }
mkdir -p /etc/apparmor.d/local
echo "$signer PUx," >/etc/apparmor.d/local/container-vtpm
trap 'status=$?; rm -f /etc/apparmor.d/local/container-vtpm; profiles; (exit "$status"); end_case' EXIT
profiles
container_start signed
certificate signed ecc >"$WORK/signed.pem"
openssl verify -x509_strict -CAfile /etc/container-vtpm/signer.pem "$WORK/signed.pem"
expect_equal "the signers that are left" '' "$(pgrep -f openssl-signer || true)"
container_stop signed
vtpmctl state create made >/dev/null
vtpmctl ek made --print certificate >"$WORK/made.pem"
openssl verify -x509_strict -CAfile /etc/container-vtpm/signer.pem "$WORK/made.pem"
