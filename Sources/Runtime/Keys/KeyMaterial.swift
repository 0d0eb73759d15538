import Platform
import RuntimeState

/// The forms that a master key comes in.
///
/// - `CVTPMKEY`: 8 bytes `CVTPMKEY`, 16 bits version (1), the key's id (16 bytes), the key (32 bytes). The id shows a
///   damaged file as such. It is what this program makes.
/// - 32 bytes: the key.
/// - 64 hexadecimal digits, with or without a line feed after them.
public enum KeyMaterial {
    static let magic = Array("CVTPMKEY".utf8)
    static let version: UInt16 = 1
    static let size = magic.count + 2 + MasterKey.idSize + MasterKey.size

    /// Recognizes the form and takes the key out; `object` is for errors.
    public static func parse(_ content: SecretBytes, _ object: String) throws(Failure) -> MasterKey {
        let what = "cannot load \(object)"
        let key = try SecretBytes(capacity: MasterKey.size)
        if content.withBytes({ $0.starts(with: magic) }) {
            let start = magic + [UInt8(version >> 8), UInt8(version & 0xff)]
            guard content.withBytes({ $0.starts(with: start) }) else {
                throw Failure(what, because: "it is of a newer version", remedy: "upgrade")
            }
            guard content.count == size else { throw damaged(what) }
            let idEnd = size - MasterKey.size
            _ = content.withBytes { key.append(copying: UnsafeRawBufferPointer(rebasing: $0[idEnd...])) }
            let master = try MasterKey(key)
            guard content.withBytes({ $0[idEnd - MasterKey.idSize..<idEnd].elementsEqual(master.id) }) else {
                throw damaged(what)
            }
            return master
        }
        switch content.count {
        case MasterKey.size:
            _ = key.append(copying: content)
        case 2 * MasterKey.size, 2 * MasterKey.size + 1:
            guard decodeHexadecimal(content, into: key) else { throw foreign(what) }
        default:
            throw foreign(what)
        }
        return try MasterKey(key)
    }

    /// A key in the form that this program makes.
    public static func encode(_ key: MasterKey) throws(Failure) -> SecretBytes {
        var header = ByteWriter()
        header.write(magic)
        header.write(version)
        header.write(key.id)
        let content = try SecretBytes(capacity: size)
        guard content.append(copying: header.bytes), content.append(copying: key.key) else {
            preconditionFailure("the capacity is the size of the form")
        }
        return content
    }

    private static func decodeHexadecimal(_ text: SecretBytes, into key: SecretBytes) -> Bool {
        func digit(_ character: UInt8) -> UInt8? {
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): character - UInt8(ascii: "A") + 10
            default: nil
            }
        }
        return text.withBytes { text in
            guard text.count == 2 * MasterKey.size || text.last == UInt8(ascii: "\n") else { return false }
            let written = key.append { target in
                for index in 0..<MasterKey.size {
                    guard let high = digit(text[2 * index]), let low = digit(text[2 * index + 1]) else { return -1 }
                    target[index] = high << 4 | low
                }
                return MasterKey.size
            }
            return written == MasterKey.size
        }
    }

    private static func damaged(_ what: String) -> Failure {
        Failure(what, because: "it is damaged", remedy: "restore it from a backup")
    }

    private static func foreign(_ what: String) -> Failure {
        Failure(
            what,
            because: "it is no master key: neither 32 bytes, 64 hexadecimal digits nor a file of this program's"
        )
    }
}
