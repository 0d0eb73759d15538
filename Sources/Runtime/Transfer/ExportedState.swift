import Platform
import RuntimeFormat

/// The contents of an export: a TPM's non-volatile state and its state ID; or a master key, with what it encrypts on its host.
public struct ExportedState {
    /// The largest state of a TPM, in bytes; the states of libtpms are far smaller.
    public static let permanentLimit = 256 << 10
    /// The longest state ID, in bytes of UTF-8.
    public static let stateIDLimit = 4096

    private static let stateIDItem: UInt16 = 1
    private static let permanentItem: UInt16 = 2
    private static let authorityItem: UInt16 = 3
    /// The largest file of a certificate authority's key, in bytes.
    static let authorityLimit = 1 << 19

    /// The state ID, not empty and at most ``stateIDLimit`` bytes long.
    public let stateID: String
    /// The TPM's whole non-volatile state: `permall` of libtpms, at most ``permanentLimit`` bytes.
    public let permanent: SecretBytes
    /// The file of the host's certificate authority's key, beside a master key; nil if there is none.
    public let authority: SecretBytes?

    /// Creates the contents of an export; ``StateExport/seal(_:with:)`` checks the sizes.
    public init(stateID: String, permanent: SecretBytes, authority: SecretBytes? = nil) {
        self.authority = authority
        self.stateID = stateID
        self.permanent = permanent
    }

    /// The reason why an export cannot hold the state; nil if it can.
    var misfit: String? {
        if stateID.isEmpty { return "its ID is empty" }
        if stateID.utf8.count > Self.stateIDLimit { return "its ID has more than \(Self.stateIDLimit) bytes" }
        if permanent.count == 0 { return "it is empty" }
        if permanent.count > Self.permanentLimit {
            return "it has \(permanent.count) bytes, more than \(Self.permanentLimit)"
        }
        if let authority, !(1...Self.authorityLimit).contains(authority.count) {
            return "the certificate authority's key has \(authority.count) bytes"
        }
        return nil
    }

    /// Encodes the payload of an export before encryption.
    func encoded() throws(Failure) -> SecretBytes {
        let name = Array(stateID.utf8)
        let beside = authority.map { Item.headerSize + $0.count } ?? 0
        let plaintext = try SecretBytes(capacity: 2 * Item.headerSize + name.count + permanent.count + beside)
        var good =
            plaintext.append(copying: Item.header(Self.stateIDItem, count: name.count))
            && plaintext.append(copying: name)
            && plaintext.append(copying: Item.header(Self.permanentItem, count: permanent.count))
            && plaintext.append(copying: permanent)
        if let authority {
            good =
                good && plaintext.append(copying: Item.header(Self.authorityItem, count: authority.count))
                && plaintext.append(copying: authority)
        }
        precondition(good, "the capacity was computed from the contents")
        return plaintext
    }

    /// Parses a decrypted payload; returns nil if it is not exactly one state with its ID.
    init?(decoding plaintext: SecretBytes) throws(Failure) {
        let permanent = try SecretBytes(capacity: max(plaintext.count, 1))
        var hasPermanent = false
        let authority = try SecretBytes(capacity: max(plaintext.count, 1))
        var hasAuthority = false
        let stateID = plaintext.withBytes { bytes -> String? in
            var stateID: String?
            var items = ItemReader(bytes)
            while let (kind, range) = items.next() {
                let contents = UnsafeRawBufferPointer(rebasing: bytes[range])
                switch kind {
                case Self.stateIDItem where stateID == nil:
                    guard let text = String(validating: contents, as: UTF8.self) else { return nil }
                    stateID = text
                case Self.permanentItem where !hasPermanent:
                    hasPermanent = true
                    guard permanent.append(copying: contents) else { return nil }
                case Self.authorityItem where !hasAuthority:
                    hasAuthority = true
                    guard authority.append(copying: contents) else { return nil }
                default: return nil
                }
            }
            guard items.isAtEnd else { return nil }
            return stateID
        }
        guard let stateID else { return nil }
        self.init(stateID: stateID, permanent: permanent, authority: hasAuthority ? authority : nil)
        guard misfit == nil else { return nil }
    }
}
