# Root in the container does not get at what belongs to the platform: the seeds, the PCR banks, NV of the platform's; not
# with tpm2-tools and not with raw commands, through either device. TPM2_Clear, which is the tenant's right, leaves the
# endorsement key. No certificates are put into NV yet; `PlatformHierarchyTests` has an index of the platform's.
# Runtimes: runc
. "$GUEST/lib.sh"

container_start closed
key=$(endorsement_key closed)
banks=$(container_exec closed tpm2_getcap pcrs)
container_shell closed '
    tpm2_createprimary -C o -G ecc -c /tmp/primary.ctx
    tpm2_evictcontrol -C o -c /tmp/primary.ctx 0x81000100' >/dev/null

container_shell closed '
    echo policy | sha256sum | xxd -revert -plain >/tmp/policy
    while read -r command; do
        if output=$($command 2>&1 </dev/null); then
            echo "executed: $command"
        elif ! grep --quiet "hierarchy is not enabled" <<<"$output"; then
            echo "refused for another reason: $command: $output"
        else
            echo "refused: $command"
        fi
    done <<END
tpm2_changeeps
tpm2_changepps
tpm2_clear -c p
tpm2_clearcontrol -C p s
tpm2_hierarchycontrol -C p phEnable clear
tpm2_hierarchycontrol -C p phEnableNV clear
tpm2_hierarchycontrol -C p shEnable clear
tpm2_changeauth -c p new
tpm2_setprimarypolicy -C p -L /tmp/policy -g sha256
tpm2_setclock -c p 99999999
tpm2_pcrallocate sha1:all+sha256:none
tpm2_nvdefine -C p -s 8 -a ppwrite|ppread|ownerread|platformcreate 0x1c00002
tpm2_createprimary -C p -c /tmp/platform.ctx
tpm2_evictcontrol -C p -c 0x81000100 0x81800000
tpm2_setcommandauditstatus -C p TPM2_CC_GetRandom
END' >"$WORK/tools"
cat "$WORK/tools"
expect_equal "tools that were refused" 15 "$(grep -c '^refused: ' "$WORK/tools")"

# The same in raw commands: code, and what follows the platform's handle and its empty password.
container_exec closed python3 -c '
import os, struct
COMMANDS = {
    "ChangeEPS": (0x124, ""), "ChangePPS": (0x125, ""), "Clear": (0x126, ""), "ClearControl": (0x127, "01"),
    "HierarchyControl": (0x121, "4000000c01"), "HierarchyChangeAuth": (0x129, "000101"),
    "SetPrimaryPolicy": (0x12E, "00000010"), "PCR_Allocate": (0x12B, "00000001000b03000000"),
    "NV_DefineSpace": (0x12A, "0000000e01c00002000b420720010000" + "0008"), "NV_GlobalWriteLock": (0x132, ""),
    "ClockSet": (0x128, "0000010000000000"), "SetAlgorithmSet": (0x13F, "00000000"),
    "CreatePrimary": (0x131, "000400000000" + "001a" + "0023000b00030472000000060080004300100003001000000000" + "0" * 12),
}
for device in "/dev/tpm0", "/dev/tpmrm0":
    tpm = os.open(device, os.O_RDWR)
    for name, (code, parameters) in COMMANDS.items():
        body = struct.pack(">IIIHBH", 0x4000000C, 9, 0x40000009, 0, 0, 0) + bytes.fromhex(parameters)
        os.write(tpm, struct.pack(">HII", 0x8002, 10 + len(body), code) + body)
        answer = os.read(tpm, 4096).hex()
        assert answer == "80010000000a00000185", f"{name} at {device}: {answer}"
    os.close(tpm)'

properties=$(container_exec closed tpm2_getcap properties-variable)
expect_match "the platform hierarchy" 'phEnable: +0' "$properties"
expect_match "the owner hierarchy" 'shEnable: +1' "$properties"
expect_equal "the PCR banks" "$banks" "$(container_exec closed tpm2_getcap pcrs)"
expect_equal "the endorsement key" "$key" "$(endorsement_key closed)"

container_exec closed tpm2_readpublic -c 0x81000100 >/dev/null
container_exec closed tpm2_clear -c l
expect_error "using a key that was cleared" '0x18[bB]' container_exec closed tpm2_readpublic -c 0x81000100
expect_equal "the endorsement key after TPM2_Clear" "$key" "$(endorsement_key closed)"
container_stop closed
container_start closed
expect_equal "the endorsement key after a restart" "$key" "$(endorsement_key closed)"
expect_equal "the PCR banks after a restart" "$banks" "$(container_exec closed tpm2_getcap pcrs)"
container_stop closed
