import Crypto
import Platform
import RuntimeFormat
import RuntimeState

/// The accepted forms of a master key.
///
/// - `CVTPMKEY`: 8 bytes `CVTPMKEY`, the version in 16 bits (1), the key's ID (16 bytes), the key (32 bytes). The ID
///   detects damage. This program writes this form.
/// - 32 bytes: the key. 32 bytes of text are refused: they could be a passphrase.
/// - 64 hexadecimal digits, with or without a line feed at the end.
public enum KeyMaterial {
    static let magic = Array("CVTPMKEY".utf8)
    static let version: UInt16 = 1
    static let size = magic.count + 2 + MasterKey.idSize + MasterKey.size

    /// Recognizes the form and returns the key; `object` names the source in errors.
    public static func parse(_ content: SecretBytes, _ object: String) throws(Failure) -> MasterKey {
        let what = "cannot load \(object)"
        let key = try SecretBytes(capacity: MasterKey.size)
        if content.withBytes({ $0.starts(with: magic) }) {
            let start = magic + [UInt8(version >> 8), UInt8(version & 0xff)]
            guard content.withBytes({ $0.starts(with: start) }) else {
                throw Failure(what, because: "it is of a newer version", hint: "upgrade")
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
        if content.count == MasterKey.size {
            guard !content.withBytes(isText) else {
                throw Failure(
                    what,
                    because: "its 32 bytes are text, as a passphrase is",
                    hint:
                        "take a random key of 64 hexadecimal digits: openssl rand -hex 32; if these bytes are the key "
                        + "already, write them as digits: od -An -v -tx1 | tr -d ' \\n'"
                )
            }
            _ = key.append(copying: content)
        } else if !decodeHexadecimal(content, into: key) {
            throw content.withBytes { foreign(what, $0) }
        }
        return try MasterKey(key)
    }

    /// Encodes a key in the form `CVTPMKEY`.
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
        text.withBytes { text in
            let size = 2 * MasterKey.size
            guard text.count == size || text.count == size + 1 && text[size] == UInt8(ascii: "\n") else { return false }
            return Hexadecimal.decode(text.prefix(size), into: key)
        }
    }

    /// Returns whether bytes are UTF-8 without control characters other than white space.
    ///
    /// About one in 2^40 random keys looks like this.
    private static func isText(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard String(validating: bytes, as: UTF8.self) != nil else { return false }
        return bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7f || (0x09...0x0d).contains($0) }
    }

    private static func damaged(_ what: String) -> Failure {
        Failure(what, because: "it is damaged", hint: "restore it from a backup")
    }

    // MARK: - Errors for other contents

    private static let forms = "a master key is 32 bytes, 64 hexadecimal digits, or a file of this program's"

    /// Returns the error for contents that are not a key; it reveals nothing that could be secret.
    private static func foreign(_ what: String, _ content: UnsafeRawBufferPointer) -> Failure {
        let others: [(start: [UInt8], why: String, hint: String)] = [
            (FileFormat.export.magic, "it is an export of a key or of a state", "vtpmctl key import"),
            (FileFormat.sealedSecret.magic, "it is a key that is sealed to a TPM", "key.source = \"host-tpm\""),
            ([0xef, 0xbb, 0xbf], "it begins with a byte order mark of UTF-8", forms),
            ([0xff, 0xfe], "it begins with a byte order mark of UTF-16", forms),
            ([0xfe, 0xff], "it begins with a byte order mark of UTF-16", forms),
        ]
        if let other = others.first(where: { content.starts(with: $0.start) }) {
            return Failure(what, because: "it is no master key: \(other.why)", hint: other.hint)
        }
        return Failure(what, because: "it is no master key: \(flaw(in: content))", hint: forms)
    }

    private static func flaw(in content: UnsafeRawBufferPointer) -> String {
        let size = 2 * MasterKey.size
        let digits = content.prefix { Hexadecimal.value($0) != nil }.count
        guard digits > 0 else { return content.isEmpty ? "it is empty" : "it has \(content.count) bytes" }
        if digits == content.count { return "it has \(digits) hexadecimal digits, not \(size)" }
        let byte = name(of: content[digits])
        if digits == size {
            // One line feed after the digits is accepted, so the flaw is what follows it.
            let isFed = content[size] == UInt8(ascii: "\n")
            return "after its \(size) digits comes \(isFed ? "more than a line feed" : byte)"
        }
        return "it has \(content.count) bytes, and after \(digits) hexadecimal digits comes \(byte)"
    }

    private static func name(of byte: UInt8) -> String {
        switch byte {
        case UInt8(ascii: "\r"): "a carriage return"
        case UInt8(ascii: "\n"): "a line feed"
        case UInt8(ascii: " "): "a blank"
        case UInt8(ascii: "\t"): "a tab"
        case 0: "a zero byte"
        default: "something else"
        }
    }
}
