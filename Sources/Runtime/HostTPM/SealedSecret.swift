import Crypto
import Platform
import RuntimeFormat
import RuntimePCR

/// A secret that only one TPM can unseal, and only while its PCRs have the same values as when it was sealed.
///
/// The encoded form is not secret. It is kept on disk:
///
///     magic      8 bytes  "CVTPMSK" and a line feed
///     version    16 bits  1
///     size       32 bits  of the whole, in bytes, including the check
///     key        32 bits  handle of its parent, the storage key: 0x81000001
///     key name   16 bits  size, then the storage key's name: 00 0b and the SHA-256 of its TPMT_PUBLIC
///     PCRs       32 bits  size, then the selection in UTF-8, such as "sha256:0-4,6-14"
///     policy     16 bits  size, then the policy digest of TPM2_PolicyPCR for that selection, SHA-256
///     public     16 bits  size, then the object's TPMT_PUBLIC: together a TPM2B_PUBLIC
///     private    16 bits  size, then the rest of a TPM2B_PRIVATE
///     check      32 bytes SHA-256 of everything before it; detects damage
///
/// Integers are big-endian, as in TPM structures. `public` and `private` are passed to TPM2_Load unchanged.
public struct SealedSecret: Equatable, Sendable {
    /// The PCRs that the secret is bound to.
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

    /// Parses ``encoded``; `path` names the file in errors.
    ///
    /// The error tells apart another kind of file, a newer version and damage.
    public init(decoding bytes: [UInt8], path: String) throws(Failure) {
        let what = "cannot load the sealed secret \(path)"
        let format = FileFormat.sealedSecret
        var fields = try FileHeader(format, parsing: bytes, what).fields
        guard let keyHandle = fields.read(UInt32.self), Handle.type(of: keyHandle) == Handle.persistentType,
            let keyName = fields.readSized(), isEntityName(keyName),
            let text = fields.readText(), let policy = fields.readSized(),
            let publicArea = fields.readSized(), let privateArea = fields.readSized(), !privateArea.isEmpty,
            fields.remaining == 0
        else { throw format.damaged(what) }
        let pcrs = try PCRSelection(parsing: text)
        guard pcrs.description == text, Self.isPublicArea(publicArea, policy: policy) else {
            throw format.damaged(what)
        }
        self.keyHandle = keyHandle
        self.keyName = keyName
        self.pcrs = pcrs
        self.policy = policy
        self.publicArea = publicArea
        self.privateArea = privateArea
    }

    /// The bytes of the file, in the layout above.
    public var encoded: [UInt8] {
        get throws(Failure) {
            var body = ByteWriter()
            body.write(keyHandle)
            body.write(sized: keyName)
            body.write(text: pcrs.description)
            body.write(sized: policy)
            body.write(sized: publicArea)
            body.write(sized: privateArea)
            return try FileFormat.sealedSecret.encode(body)
        }
    }

    /// Returns the template of the sealed object: data that needs the policy and cannot leave this TPM or its parent.
    ///
    /// userWithAuth is clear. Otherwise the object's empty authorization value would be enough to unseal it.
    static func template(policy: [UInt8]) -> [UInt8] {
        var area = ByteWriter()
        area.write(Algorithm.keyedHash)
        area.write(Algorithm.sha256)
        area.write(([.fixedTPM, .fixedParent, .noDA] as ObjectAttributes).rawValue)
        area.write(sized: policy)
        // No scheme: the object holds data, not a key.
        area.write(Algorithm.null)
        area.write(sized: [])
        return area.bytes
    }

    /// Returns whether a public area belongs to an object made from ``template(policy:)``.
    static func isPublicArea(_ area: [UInt8], policy: [UInt8]) -> Bool {
        let fixed = template(policy: policy).dropLast(2)
        guard policy.count == SHA256.digestSize, area.starts(with: fixed) else { return false }
        // The TPM has filled in `unique`, a digest.
        var rest = ByteReader(Array(area[fixed.count...]))
        return rest.readSized()?.count == SHA256.digestSize && rest.remaining == 0
    }
}
