import Platform
import VTPMProxy

/// A key that is not at its handle, and the response code by which the TPM has refused to put it there.
///
/// A tenant has the means: it can set authorizations, and fill the NV memory.
public struct RefusedKey: Equatable, Sendable {
    /// The key.
    public let key: StandardKey
    /// TPM_RC of TPM2_CreatePrimary or TPM2_EvictControl.
    public let code: UInt32

    /// The most that a worker can name.
    package static let limit = StandardKey.allCases.count

    /// Creates the description of a refusal.
    public init(_ key: StandardKey, code: UInt32) {
        self.key = key
        self.code = code
    }

    /// Why, in words. TPM 2.0 Library, Part 2, 6.6.3
    public var reason: String {
        switch code {
        case TPMCommand.badAuthorization: "the tenant has set an authorization of the owner's or of its hierarchy"
        case TPMCommand.noSpace: "the TPM's NV memory is full"
        default: "the TPM answers 0x\(String(code, radix: 16))"
        }
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(key.rawValue)
        writer.write(code)
    }

    /// Reads a number of refusals, and the refusals; returns nil if they are malformed, or if a key is there twice.
    static func list(_ reader: inout ByteReader) -> [RefusedKey]? {
        guard let count = reader.read(UInt8.self), count <= limit else { return nil }
        var list: [RefusedKey] = []
        for _ in 0..<count {
            guard let number = reader.read(UInt8.self), let key = StandardKey(rawValue: number),
                let code = reader.read(UInt32.self), !list.contains(where: { $0.key == key })
            else { return nil }
            list.append(RefusedKey(key, code: code))
        }
        return list
    }
}
