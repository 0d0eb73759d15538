import Platform
import Testing

@testable import RuntimeHostTPM

extension CommandCorpus {
    private static let digest = [UInt8](repeating: 0x5a, count: 32)
    /// A TPMT_TK_HASHCHECK that says nothing: the hash was made elsewhere.
    private static let noTicket: [UInt8] = [0x80, 0x24, 0x40, 0, 0, 7, 0, 0]
    /// TPM_ALG_NULL as scheme or algorithm.
    private static let noScheme: [UInt8] = [0, 0x10]

    mutating func addKeyUses(_ area: [UInt8]) {
        let (signer, parent) = (Self.signer, Self.parent)
        add(
            "Sign",
            TPMRequest(0x15d, [signer], isAuthorized: true) {
                $0.write(sized: Self.digest)
                $0.write(Self.noScheme + Self.noTicket)
            }
        )
        add(
            "Quote",
            TPMRequest(0x158, [signer], isAuthorized: true) {
                $0.write(sized: [1, 2, 3])
                $0.write(Self.noScheme)
                $0.write(pcr: 7)
            }
        )
        var certify = TPMRequest(0x148, [parent, signer]) {
            $0.write(sized: [1])
            $0.write(Self.noScheme)
        }
        certify.sessions = [Handle.password, Handle.password]
        add("Certify", certify)
        // An object's certificate: an empty partialCertificate is refused once it is looked at.
        var x509 = TPMRequest(0x197, [signer, signer]) {
            $0.write(sized: [])
            $0.write(Self.noScheme)
            $0.write(sized: [0x30, 0x12, 0x30, 0, 0x30, 4, 0x30, 0, 0x30, 0, 0x30, 4, 0x30, 0, 0x30, 0])
        }
        x509.sessions = [Handle.password, Handle.password]
        addTemplate("CertifyX509", x509)
        var time = TPMRequest(0x14c, [Handle.endorsement, signer]) {
            $0.write(sized: [])
            $0.write(Self.noScheme)
        }
        time.sessions = [Handle.password, Handle.password]
        add("GetTime", time)
        add("ECDH_KeyGen", TPMRequest(0x163, [parent]))
        addTemplate(
            "ECDH_ZGen",
            TPMRequest(0x154, [signer], isAuthorized: true) {
                $0.write(sized: [0, 2, 1, 1, 0, 2, 1, 1])
            }
        )
        addTemplate(
            "Commit",
            TPMRequest(0x18b, [signer], isAuthorized: true) { $0.write([0, 0, 0, 0, 0, 0] as [UInt8]) }
        )
        add("EC_Ephemeral", TPMRequest(0x18e) { $0.write(UInt16(3)) })
        add("ReadPublic", TPMRequest(0x173, [Self.persistent]))
        add(
            "LoadExternal",
            TPMRequest(0x167) {
                $0.write(sized: [])
                $0.write(sized: area)
                $0.write(Handle.null)
            }
        )
        add(
            "MakeCredential",
            TPMRequest(0x168, [parent]) {
                $0.write(sized: [1, 2, 3, 4])
                $0.write(sized: [0, 0x0b] + Self.digest)
            }
        )
        add(
            "HashSequenceStart",
            TPMRequest(0x186) {
                $0.write(sized: [])
                $0.write(UInt16(0x000b))
            }
        )
        addTemplate(
            "SequenceUpdate",
            TPMRequest(0x15c, [0x8000_0002], isAuthorized: true) { $0.write(sized: Self.digest) }
        )
        addTemplate(
            "SequenceComplete",
            TPMRequest(0x13e, [0x8000_0002], isAuthorized: true) {
                $0.write(sized: Self.digest)
                $0.write(Handle.null)
            }
        )
        addTemplate(
            "RSA_Encrypt",
            TPMRequest(0x174, [parent]) {
                $0.write(sized: Self.digest)
                $0.write(Self.noScheme + [0, 0])
            }
        )
        addTemplate(
            "EncryptDecrypt",
            TPMRequest(0x164, [parent], isAuthorized: true) {
                $0.write([0, 0, 0x43] as [UInt8])
                $0.write(sized: Self.digest)
                $0.write(sized: Self.digest)
            }
        )
        addTemplate(
            "HMAC",
            TPMRequest(0x155, [signer], isAuthorized: true) {
                $0.write(sized: Self.digest)
                $0.write(UInt16(0x000b))
            }
        )
    }

    /// Commands that carry what an earlier answer gave.
    mutating func addBlobs(
        _ key: (private: [UInt8], public: [UInt8]),
        _ creation: (data: [UInt8], hash: [UInt8]),
        _ transmit: Transmit
    ) throws {
        let save = TPMRequest(0x162, [Self.signer])
        let context = try succeed(save, transmit).bytes.dropFirst(10)
        add("ContextSave", save)
        add("ContextLoad", TPMRequest(0x161) { $0.write(context) })
        let keyedHash: [UInt8] = [0, 8, 0, 0x0b, 0, 0, 0, 0x52, 0, 0, 0, 0x10, 0, 0]
        var sealed = try succeed(Self.create(keyedHash, sealed: [1, 2, 3]), transmit).parameters()
        let areas = (sealed.readSized() ?? [], sealed.readSized() ?? [])
        let load = TPMRequest(0x157, [Self.parent], isAuthorized: true) {
            $0.write(sized: areas.0)
            $0.write(sized: areas.1)
        }
        add("Load of a sealed object", load)
        let loaded = try #require(try succeed(load, transmit).handle)
        try succeed(TPMRequest(0x15e, [loaded], isAuthorized: true), transmit)
        addTemplate("Unseal", TPMRequest(0x15e, [loaded], isAuthorized: true))
        try succeed(Self.flush(loaded), transmit)
        let signature = try succeed(
            TPMRequest(0x15d, [Self.signer], isAuthorized: true) {
                $0.write(sized: Self.digest)
                $0.write(Self.noScheme + Self.noTicket)
            },
            transmit
        ).bytes.dropFirst(14).dropLast(5)
        add(
            "VerifySignature",
            TPMRequest(0x177, [Self.signer]) {
                $0.write(sized: Self.digest)
                $0.write(signature)
            }
        )
        addTemplate(
            "CertifyCreation",
            TPMRequest(0x14a, [Self.signer, Self.signer], isAuthorized: true) {
                $0.write(sized: [])
                $0.write(sized: creation.hash)
                $0.write(Self.noScheme)
                $0.write([0x80, 0x21] as [UInt8])
                $0.write(Handle.owner)
                $0.write(sized: Self.digest)
            }
        )
        addTemplate(
            "Import",
            TPMRequest(0x156, [Self.parent], isAuthorized: true) {
                $0.write(sized: [])
                $0.write(sized: key.public)
                $0.write(sized: key.private)
                $0.write(sized: [])
                $0.write(Self.noScheme)
            }
        )
        addTemplate(
            "Duplicate",
            TPMRequest(0x14b, [Self.signer, Handle.null], isAuthorized: true) {
                $0.write(sized: [])
                $0.write(Self.noScheme)
            }
        )
        addTemplate(
            "ActivateCredential",
            TPMRequest(0x147, [Self.signer, Self.parent], isAuthorized: true) {
                $0.write(sized: Self.digest)
                $0.write(sized: Self.digest)
            }
        )
        addTemplate(
            "ObjectChangeAuth",
            TPMRequest(0x150, [Self.signer, Self.parent], isAuthorized: true) {
                $0.write(sized: [1])
            }
        )
    }

    /// Commands about NV indices and persistent objects.
    mutating func addStorage() {
        let owner = Handle.owner
        for index in [Self.ordinary, Self.extended] {
            add("NV_ReadPublic", TPMRequest(0x169, [index]))
        }
        add(
            "NV_Write",
            TPMRequest(0x137, [owner, Self.ordinary], isAuthorized: true) {
                $0.write(sized: [1, 2, 3, 4, 5, 6, 7, 8])
                $0.write(UInt16(0))
            }
        )
        add(
            "NV_Read",
            TPMRequest(0x14e, [owner, Self.ordinary], isAuthorized: true) {
                $0.write(UInt16(8))
                $0.write(UInt16(0))
            }
        )
        add("NV_Increment", TPMRequest(0x134, [owner, Self.counter], isAuthorized: true))
        add("NV_SetBits", TPMRequest(0x135, [owner, Self.bits], isAuthorized: true) { $0.write(UInt64(0x10)) })
        add(
            "NV_Extend",
            TPMRequest(0x136, [owner, Self.extended], isAuthorized: true) { $0.write(sized: Self.digest) }
        )
        addTemplate("NV_WriteLock", TPMRequest(0x138, [owner, Self.ordinary], isAuthorized: true))
        addTemplate("NV_ReadLock", TPMRequest(0x14f, [owner, Self.ordinary], isAuthorized: true))
        addTemplate("NV_ChangeAuth", TPMRequest(0x13b, [Self.ordinary], isAuthorized: true) { $0.write(sized: [1]) })
        addTemplate("NV_DefineSpace", Self.define(0x0150_0020))
        addTemplate("NV_UndefineSpace", TPMRequest(0x122, [owner, Self.bits], isAuthorized: true))
        addTemplate(
            "EvictControl",
            TPMRequest(0x120, [owner, Self.persistent], isAuthorized: true) {
                $0.write(Self.persistent)
            }
        )
        var certify = TPMRequest(0x184, [Self.signer, owner, Self.ordinary]) {
            $0.write(sized: [])
            $0.write(Self.noScheme + [0, 0, 0, 0])
        }
        certify.sessions = [Handle.password, Handle.password]
        addTemplate("NV_Certify", certify)
    }

    mutating func addPlatformConfiguration() {
        add(
            "PCR_Extend",
            TPMRequest(0x182, [16], isAuthorized: true) {
                $0.write([0, 0, 0, 1, 0, 0x0b] as [UInt8])
                $0.write(Self.digest)
            }
        )
        add("PCR_Event", TPMRequest(0x13c, [16], isAuthorized: true) { $0.write(sized: [1, 2, 3]) })
        add("PCR_Reset", TPMRequest(0x13d, [16], isAuthorized: true))
        add("PCR_Read", TPMRequest(0x17e) { $0.write(pcr: 16) })
        addTemplate("PCR_Allocate", TPMRequest(0x12b, [Handle.platform], isAuthorized: true) { $0.write(pcr: 7) })
    }

    mutating func addSessions() {
        let policy = [Self.policySession]
        add("StartAuthSession", Self.startSession(0))
        add(
            "StartAuthSession bound to a key",
            TPMRequest(0x176, [Handle.null, Self.signer]) {
                $0.write(sized: [UInt8](repeating: 6, count: 16))
                // AES-128 in CFB mode, for encrypted parameters.
                $0.write([0, 0, 0, 0, 6, 0, 0x80, 0, 0x43, 0, 0x0b] as [UInt8])
            }
        )
        add(
            "PolicyPCR",
            TPMRequest(0x17f, policy) {
                $0.write(sized: [])
                $0.write(pcr: 16)
            }
        )
        add("PolicyCommandCode", TPMRequest(0x16c, policy) { $0.write(UInt32(0x15e)) })
        add("PolicyAuthValue", TPMRequest(0x16b, policy))
        add("PolicyRestart", TPMRequest(0x180, policy))
        add("PolicyGetDigest", TPMRequest(0x189, policy))
        add(
            "PolicyOR",
            TPMRequest(0x171, policy) {
                $0.write(UInt32(2))
                $0.write(sized: [UInt8](repeating: 0, count: 32))
                $0.write(sized: Self.digest)
            }
        )
        addTemplate("PolicyTemplate", TPMRequest(0x190, policy) { $0.write(sized: Self.digest) })
        addTemplate("PolicyLocality", TPMRequest(0x16f, policy) { $0.write(UInt8(1)) })
        addTemplate("PolicyNameHash", TPMRequest(0x170, policy) { $0.write(sized: Self.digest) })
        addTemplate("PolicyCpHash", TPMRequest(0x16e, policy) { $0.write(sized: Self.digest) })
        addTemplate("PolicyNvWritten", TPMRequest(0x18f, policy) { $0.write(UInt8(1)) })
        add(
            "PolicySecret",
            TPMRequest(0x151, [Handle.owner, Self.policySession], isAuthorized: true) {
                $0.write([0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [UInt8])
            }
        )
        addTemplate(
            "PolicyNV",
            TPMRequest(0x149, [Handle.owner, Self.ordinary, Self.policySession], isAuthorized: true) {
                $0.write(sized: [1])
                $0.write(UInt32(0))
            }
        )
        addTemplate(
            "PolicySigned",
            TPMRequest(0x160, [Self.signer, Self.policySession]) {
                $0.write([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x0b] as [UInt8])
                $0.write(sized: Self.digest)
                $0.write(sized: Self.digest)
            }
        )
        addTemplate(
            "PolicyAuthorize",
            TPMRequest(0x16a, policy) {
                $0.write(sized: Self.digest)
                $0.write(sized: [])
                $0.write(sized: [0, 0x0b] + Self.digest)
                $0.write(Self.noTicket)
            }
        )
        var secret = TPMRequest(0x15d, [Self.signer]) {
            $0.write(sized: Self.digest)
            $0.write(Self.noScheme + Self.noTicket)
        }
        secret.sessions = [Self.hmacSession]
        addTemplate("Sign with an HMAC session", secret)
        secret.sessions = [Self.policySession, Self.hmacSession, Handle.password]
        addTemplate("Sign with three sessions", secret)
    }

    mutating func addManagement() {
        let (owner, lockout) = (Handle.owner, Handle.lockout)
        addTemplate("Startup", TPMRequest(0x144) { $0.write(UInt16(0)) })
        addTemplate("Shutdown", TPMRequest(0x145) { $0.write(UInt16(1)) })
        addTemplate("Clear", TPMRequest(0x126, [lockout], isAuthorized: true))
        addTemplate("ClearControl", TPMRequest(0x127, [lockout], isAuthorized: true) { $0.write(UInt8(1)) })
        addTemplate(
            "HierarchyControl",
            TPMRequest(0x121, [owner], isAuthorized: true) {
                $0.write(owner)
                $0.write(UInt8(0))
            }
        )
        addTemplate("HierarchyChangeAuth", TPMRequest(0x129, [owner], isAuthorized: true) { $0.write(sized: [1]) })
        addTemplate(
            "SetPrimaryPolicy",
            TPMRequest(0x12e, [owner], isAuthorized: true) {
                $0.write(sized: [])
                $0.write(Self.noScheme)
            }
        )
        addTemplate("ChangeEPS", TPMRequest(0x124, [Handle.platform], isAuthorized: true))
        add("DictionaryAttackLockReset", TPMRequest(0x139, [lockout], isAuthorized: true))
        addTemplate(
            "DictionaryAttackParameters",
            TPMRequest(0x13a, [lockout], isAuthorized: true) {
                for value: UInt32 in [3, 1000, 1000] { $0.write(value) }
            }
        )
        addTemplate("ClockSet", TPMRequest(0x128, [owner], isAuthorized: true) { $0.write(UInt64(1) << 40) })
        addTemplate(
            "SetCommandCodeAuditStatus",
            TPMRequest(0x140, [owner], isAuthorized: true) {
                $0.write(Self.noScheme)
                $0.write([0, 0, 0, 1, 0, 0, 0x01, 0x7b, 0, 0, 0, 0] as [UInt8])
            }
        )
    }

    mutating func addQuestions() {
        add("GetRandom", TPMRequest(0x17b) { $0.write(UInt16(32)) })
        add("StirRandom", TPMRequest(0x146) { $0.write(sized: Self.digest) })
        add(
            "Hash",
            TPMRequest(0x17d) {
                $0.write(sized: [UInt8](repeating: 1, count: 1000))
                $0.write(UInt16(0x000b))
                $0.write(Handle.null)
            }
        )
        for (capability, property): (UInt32, UInt32) in [(0, 1), (2, 0x11f), (5, 0), (6, 0x100), (8, 0)] {
            add(
                "GetCapability \(capability)",
                TPMRequest(0x17a) {
                    $0.write(capability)
                    $0.write(property)
                    $0.write(UInt32(200))
                }
            )
        }
        add("SelfTest", TPMRequest(0x143) { $0.write(UInt8(1)) })
        add("IncrementalSelfTest", TPMRequest(0x142) { $0.write([0, 0, 0, 1, 0, 0x0b] as [UInt8]) })
        add("GetTestResult", TPMRequest(0x17c))
        add("ReadClock", TPMRequest(0x181))
        add("ECC_Parameters", TPMRequest(0x178) { $0.write(UInt16(3)) })
        add("TestParms", TPMRequest(0x18a) { $0.write([0, 8, 0, 0x10] as [UInt8]) })
    }
}
