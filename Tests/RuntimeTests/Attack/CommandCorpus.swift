import Platform
import Testing

@testable import RuntimeHostTPM

/// Test fixture: valid commands of nearly every kind that libtpms knows, with handles, sessions and blobs of one TPM.
///
/// They are made after the TPM was cleared, and are good for as long as its objects are there.
struct CommandCorpus {
    struct Seed {
        let name: String
        let bytes: [UInt8]
        /// Whether it is only sent with changes: as it is, it would take rights from the tenant that cannot be given back,
        /// or end what the others need.
        var isTemplateOnly = false
    }

    private(set) var seeds: [Seed] = []

    static let parent: UInt32 = 0x8000_0000
    static let signer: UInt32 = 0x8000_0001
    static let persistent: UInt32 = 0x8100_0100
    static let hmacSession: UInt32 = 0x0200_0000
    static let policySession: UInt32 = 0x0300_0001
    static let ordinary: UInt32 = 0x0150_0010
    static let counter: UInt32 = 0x0150_0011
    static let bits: UInt32 = 0x0150_0012
    static let extended: UInt32 = 0x0150_0013
    /// Owner and authorization may read and write; no protection against dictionary attacks. Part 2, 13.4
    static let nvAttributes: UInt32 = 0x0206_0006
    /// Made and written by the platform alone, read by all, can be locked: what a certificate has, and a lock for reading.
    static let platformAttributes: UInt32 = 0xc207_2001

    /// Handles that mutations put in one another's place.
    static let handles: [UInt32] = [
        parent, signer, 0x8000_0002, 0x8000_0003, persistent, 0x8100_0101, 0x8180_0000, hmacSession, policySession,
        0x0200_0002, 0x0300_0000, ordinary, counter, bits, extended, 0x0150_0020, 0x01c0_0002, 0, 7, 16, 23, 24,
        Handle.owner, Handle.null, Handle.password, Handle.lockout, Handle.endorsement, Handle.platform,
        Handle.platformNV, 0x4000_0000, 0x4000_0010, 0x4000_0110, 0x9000_0000, 0xffff_ffff,
    ]

    /// Makes what the commands need in a TPM that was cleared, and the commands.
    init(for transmit: Transmit) throws {
        let primary = try succeed(Self.createPrimary(Handle.owner, StorageKey.template), transmit)
        try #require(primary.handle == Self.parent)
        let create = Self.create(Templates.signing)
        var created = try succeed(create, transmit).parameters()
        let key = (private: try sized(&created), public: try sized(&created))
        let creation = (data: try sized(&created), hash: try sized(&created))
        let load = TPMRequest(0x157, [Self.parent], isAuthorized: true) {
            $0.write(sized: key.private)
            $0.write(sized: key.public)
        }
        try #require(try succeed(load, transmit).handle == Self.signer)
        try succeed(Self.startSession(0), transmit)
        try succeed(Self.startSession(1), transmit)
        let evict = TPMRequest(0x120, [Handle.owner, Self.signer], isAuthorized: true) { $0.write(Self.persistent) }
        try succeed(evict, transmit)
        for (index, kind): (UInt32, UInt32) in [
            (Self.ordinary, 0), (Self.counter, 1), (Self.bits, 2), (Self.extended, 4),
        ] {
            try succeed(Self.define(index, kind: kind), transmit)
        }

        add("CreatePrimary", Self.createPrimary(Handle.owner, StorageKey.template))
        add("CreatePrimary of the endorsement hierarchy", Self.createPrimary(Handle.endorsement, Templates.signing))
        add("Create", create)
        add("Load", load)
        add("CreateLoaded", Self.createLoaded)
        addKeyUses(key.public)
        try addBlobs(key, creation, transmit)
        addStorage()
        addPlatformConfiguration()
        addSessions()
        addManagement()
        addQuestions()
    }

    mutating func add(_ name: String, _ request: TPMRequest) {
        seeds.append(Seed(name: name, bytes: request.bytes))
    }

    mutating func addTemplate(_ name: String, _ request: TPMRequest) {
        seeds.append(Seed(name: name, bytes: request.bytes, isTemplateOnly: true))
    }

    private func sized(_ reader: inout ByteReader) throws -> [UInt8] {
        let bytes = reader.readSized()
        return try #require(bytes)
    }

    // MARK: - Commands that tests use by themselves

    static func createPrimary(_ hierarchy: UInt32, _ template: [UInt8]) -> TPMRequest {
        TPMRequest(0x131, [hierarchy], isAuthorized: true) {
            $0.write(sized: [0, 0, 0, 0])
            $0.write(sized: template)
            $0.write([0, 0, 0, 0, 0, 0] as [UInt8])
        }
    }

    static func create(_ template: [UInt8], sealed: [UInt8] = []) -> TPMRequest {
        TPMRequest(0x153, [parent], isAuthorized: true) {
            $0.write(sized: [0, 0, 0, UInt8(sealed.count)] + sealed)
            $0.write(sized: template)
            $0.write([0, 0, 0, 0, 0, 0] as [UInt8])
        }
    }

    static let createLoaded = TPMRequest(0x191, [parent], isAuthorized: true) {
        $0.write(sized: [0, 0, 0, 0])
        $0.write(sized: Templates.signing)
    }

    /// TPM2_StartAuthSession: 0 HMAC, 1 policy, 3 trial.
    static func startSession(_ kind: UInt8) -> TPMRequest {
        TPMRequest(0x176, [Handle.null, Handle.null]) {
            $0.write(sized: [UInt8](repeating: 5, count: 16))
            $0.write([0, 0, kind, 0, 0x10, 0, 0x0b] as [UInt8])
        }
    }

    /// TPM2_NV_DefineSpace by the owner; the kind is a TPM_NT.
    static func define(_ index: UInt32, kind: UInt32 = 0, by hierarchy: UInt32 = Handle.owner) -> TPMRequest {
        let attributes = hierarchy == Handle.platform ? platformAttributes : nvAttributes
        return TPMRequest(0x12a, [hierarchy], isAuthorized: true) {
            $0.write(sized: [])
            var area = ByteWriter()
            area.write(index)
            area.write(UInt16(0x000b))
            area.write(attributes | kind << 4)
            area.write(sized: [])
            area.write(UInt16(kind == 4 ? 32 : 8))
            $0.write(sized: area.bytes)
        }
    }

    static func flush(_ handle: UInt32) -> TPMRequest {
        TPMRequest(0x165) { $0.write(handle) }
    }

    /// TPM2_GetCapability, TPM_CAP_HANDLES.
    static func list(_ first: UInt32) -> TPMRequest {
        TPMRequest(0x17a) {
            $0.write(UInt32(1))
            $0.write(first)
            $0.write(UInt32(254))
        }
    }
}
