import Platform

/// What an export holds: a TPM's non-volatile state, and whose it is.
public struct ExportedState {
    /// The largest state of a TPM, in bytes; libtpms' are far smaller.
    public static let permanentLimit = 256 << 10
    /// The longest state ID, in bytes of UTF-8.
    public static let stateIDLimit = 4096

    private static let stateIDItem: UInt16 = 1
    private static let permanentItem: UInt16 = 2
    /// Bytes before the contents of an item.
    static let itemHeaderSize = 6

    /// The ID of the state.
    public let stateID: String
    /// The TPM's whole non-volatile state, libtpms' `permall`.
    public let permanent: SecretBytes

    /// A state to be exported.
    public init(stateID: String, permanent: SecretBytes) {
        self.stateID = stateID
        self.permanent = permanent
    }

    /// Why an export cannot hold it; nothing where it can.
    var misfit: String? {
        if stateID.isEmpty { return "its ID is empty" }
        if stateID.utf8.count > Self.stateIDLimit { return "its ID has more than \(Self.stateIDLimit) bytes" }
        if permanent.count == 0 { return "it is empty" }
        if permanent.count > Self.permanentLimit {
            return "it has \(permanent.count) bytes, more than \(Self.permanentLimit)"
        }
        return nil
    }

    /// The payload of an export, before it is encrypted.
    func encoded() throws(Failure) -> SecretBytes {
        let name = Array(stateID.utf8)
        let plaintext = try SecretBytes(capacity: 2 * Self.itemHeaderSize + name.count + permanent.count)
        let good =
            plaintext.append(copying: Self.itemHeader(Self.stateIDItem, count: name.count))
            && plaintext.append(copying: name)
            && plaintext.append(copying: Self.itemHeader(Self.permanentItem, count: permanent.count))
            && plaintext.append(copying: permanent)
        precondition(good, "the capacity was computed from the contents")
        return plaintext
    }

    /// Reads a payload; nothing where it is not exactly one state with its ID.
    init?(decoding plaintext: SecretBytes) throws(Failure) {
        let permanent = try SecretBytes(capacity: max(plaintext.count, 1))
        var hasPermanent = false
        let stateID = plaintext.withBytes { bytes -> String? in
            var stateID: String?
            var rest = bytes
            while !rest.isEmpty {
                guard rest.count >= Self.itemHeaderSize else { return nil }
                let length = rest.bigEndian(at: 2, count: 4)
                guard rest.count - Self.itemHeaderSize >= length else { return nil }
                let contents = UnsafeRawBufferPointer(rebasing: rest.dropFirst(Self.itemHeaderSize).prefix(length))
                switch UInt16(rest.bigEndian(at: 0, count: 2)) {
                case Self.stateIDItem where stateID == nil:
                    guard let text = String(validating: contents, as: UTF8.self) else { return nil }
                    stateID = text
                case Self.permanentItem where !hasPermanent:
                    hasPermanent = true
                    guard permanent.append(copying: contents) else { return nil }
                default: return nil
                }
                rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(Self.itemHeaderSize + length))
            }
            return stateID
        }
        guard let stateID else { return nil }
        self.init(stateID: stateID, permanent: permanent)
        guard misfit == nil else { return nil }
    }

    private static func itemHeader(_ kind: UInt16, count: Int) -> [UInt8] {
        var header = ByteWriter()
        header.write(kind)
        header.write(UInt32(count))
        return header.bytes
    }
}

extension UnsafeRawBufferPointer {
    /// An unsigned integer of up to four bytes; the caller has looked whether they are there.
    func bigEndian(at offset: Int, count: Int) -> Int {
        self[offset..<offset + count].reduce(0) { $0 << 8 | Int($1) }
    }
}
