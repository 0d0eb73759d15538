import Crypto
import Platform

/// A secret that only one TPM gives out again, and only while its PCRs are as they were.
///
/// Its bytes are no secret, and are what is kept on disk:
///
///     magic      8 bytes  "CVTPMSK" and a line feed
///     version    16 bits  1
///     size       32 bits  of the whole, in bytes, the check included
///     key        32 bits  handle of the storage key that it is a child of, 0x81000001
///     key name   16 bits  size, then the storage key's name: 00 0b and the SHA-256 of its TPMT_PUBLIC
///     PCRs       32 bits  size, then the selection in UTF-8, such as "sha256:0-4,6-14"
///     policy     16 bits  size, then the policy digest of TPM2_PolicyPCR for that selection, SHA-256
///     public     16 bits  size, then the object's TPMT_PUBLIC: together a TPM2B_PUBLIC
///     private    16 bits  size, then the rest of a TPM2B_PRIVATE
///     check      32 bytes SHA-256 of all before it: shows damage
///
/// Integers are big-endian, as in TPM structures. `public` and `private` go to TPM2_Load as they are.
public struct SealedSecret: Equatable, Sendable {
    static let magic = Array("CVTPMSK\n".utf8)
    static let version: UInt16 = 1
    /// The largest that is read at all, in bytes.
    static let sizeLimit = 1 << 16

    /// Which PCRs it is bound to.
    public let pcrs: PCRSelection
    let keyHandle: UInt32
    let keyName: [UInt8]
    let policy: [UInt8]
    let publicArea: [UInt8]
    let privateArea: [UInt8]

    init(key: StorageKey, pcrs: PCRSelection, policy: [UInt8], publicArea: [UInt8], privateArea: [UInt8]) {
        self.keyHandle = key.handle
        self.keyName = key.name
        self.pcrs = pcrs
        self.policy = policy
        self.publicArea = publicArea
        self.privateArea = privateArea
    }

    /// Parses ``encoded``.
    ///
    /// Each way to be wrong has its own words; `path` is for them.
    public init(decoding bytes: [UInt8], path: String) throws(Failure) {
        func refuse(_ why: String, remedy: String = "restore the file from a backup") -> Failure {
            Failure("cannot load the sealed secret \(path)", because: why, remedy: remedy)
        }
        let truncated = refuse("it is truncated")
        let damaged = refuse("it is damaged")
        var reader = ByteReader(bytes)
        guard let magic = reader.read(count: Self.magic.count) else { throw truncated }
        guard magic == Self.magic else { throw refuse("it is not a sealed secret") }
        guard let version = reader.read(UInt16.self) else { throw truncated }
        guard version <= Self.version else {
            throw refuse("it has format \(version), newer than this version's \(Self.version)", remedy: "upgrade")
        }
        guard version == Self.version else { throw damaged }
        guard let size = reader.read(UInt32.self), bytes.count >= Int(size) else { throw truncated }
        guard bytes.count == Int(size), bytes.count <= Self.sizeLimit,
            bytes.count >= reader.offset + SHA256.digestSize,
            try Array(bytes.suffix(SHA256.digestSize))
                == SHA256.digest(bytes.dropLast(SHA256.digestSize))
        else { throw damaged }
        // The check is no protection against somebody who writes another: what follows is read with the same care.
        guard let keyHandle = reader.read(UInt32.self), Handle.type(of: keyHandle) == Handle.persistentType,
            let keyName = reader.readSized(), isEntityName(keyName),
            let text = reader.readText(), let policy = reader.readSized(),
            let publicArea = reader.readSized(), let privateArea = reader.readSized(), !privateArea.isEmpty,
            reader.remaining == SHA256.digestSize
        else { throw damaged }
        let pcrs = try PCRSelection(parsing: text)
        guard pcrs.description == text, Self.isPublicArea(publicArea, policy: policy) else { throw damaged }
        self.keyHandle = keyHandle
        self.keyName = keyName
        self.pcrs = pcrs
        self.policy = policy
        self.publicArea = publicArea
        self.privateArea = privateArea
    }

    /// The bytes to be kept.
    public var encoded: [UInt8] {
        get throws(Failure) {
            var body = ByteWriter()
            body.write(keyHandle)
            body.write(sized: keyName)
            body.write(text: pcrs.description)
            body.write(sized: policy)
            body.write(sized: publicArea)
            body.write(sized: privateArea)
            var whole = ByteWriter()
            whole.write(Self.magic)
            whole.write(Self.version)
            whole.write(UInt32(whole.bytes.count + 4 + body.bytes.count + SHA256.digestSize))
            whole.write(body.bytes)
            whole.write(try SHA256.digest(whole.bytes))
            return whole.bytes
        }
    }

    /// What the TPM is asked to make: data that needs the policy, in this TPM and below this key for ever.
    ///
    /// userWithAuth is clear, or the object's empty authorization value would do as well as the policy.
    static func template(policy: [UInt8]) -> [UInt8] {
        var area = ByteWriter()
        area.write(Algorithm.keyedHash)
        area.write(Algorithm.sha256)
        area.write(([.fixedTPM, .fixedParent, .noDA] as ObjectAttributes).rawValue)
        area.write(sized: policy)
        // No scheme: data, and no key.
        area.write(Algorithm.null)
        area.write(sized: [])
        return area.bytes
    }

    /// Whether a public area is that of an object made by ``template(policy:)``.
    static func isPublicArea(_ area: [UInt8], policy: [UInt8]) -> Bool {
        let fixed = template(policy: policy).dropLast(2)
        guard policy.count == SHA256.digestSize, area.starts(with: fixed) else { return false }
        // What the TPM fills in is a digest.
        var rest = ByteReader(Array(area[fixed.count...]))
        return rest.readSized()?.count == SHA256.digestSize && rest.remaining == 0
    }
}
