import Crypto
import Platform

/// Names of state directories.
public enum StateDirectoryName {
    /// The longest state ID, in bytes of UTF-8.
    public static let identifierLimit = 4096

    /// The directory name of a state ID: two different IDs never share one.
    ///
    /// Letters, digits, `-`, `_` and, except at the start, `.` stand for themselves; every other byte of the UTF-8 form
    /// is `%` and two hexadecimal digits. A name of our own starts with `.`, which no ID's does. Of a name that would be
    /// too long, the beginning is kept and `%-` and the SHA-256 of the ID follow; no other name has `%-` in it. A file
    /// system that takes upper and lower case for the same does not tell all names apart.
    public static func encoded(_ stateID: String) throws(Failure) -> String {
        func refused(_ why: String) -> Failure {
            // Of Unicode scalars: one character can be as long as the whole ID.
            Failure("cannot use \"\(String(stateID.unicodeScalars.prefix(64)))\" as a state ID", because: why)
        }
        let bytes = Array(stateID.utf8)
        guard !bytes.isEmpty else { throw refused("it is empty") }
        guard bytes.count <= identifierLimit else {
            throw refused("it has \(bytes.count) bytes, more than \(identifierLimit)")
        }
        // Bytes, not a text: each start of a vTPM does this for each state of the host.
        var name: [UInt8] = []
        name.reserveCapacity(bytes.count)
        for (index, byte) in bytes.enumerated() {
            switch Unicode.Scalar(byte) {
            case "a"..."z", "A"..."Z", "0"..."9", "-", "_": name.append(byte)
            case "." where index > 0: name.append(byte)
            default:
                let digits = Hexadecimal.capitals(byte)
                name.append(contentsOf: [UInt8(ascii: "%"), digits.high, digits.low])
            }
        }
        guard name.count > lengthLimit else { return String(decoding: name, as: UTF8.self) }
        let kept = String(decoding: name.prefix(keptLength), as: UTF8.self)
        return try kept + "%-" + Hexadecimal.encode(SHA256.digest(bytes))
    }

    /// NAME_MAX is 255; a directory in the making has a prefix.
    static let lengthLimit = 240
    /// How much of a name that is too long is kept.
    static let keptLength = 150

    /// Whether a name can be that of a state's directory, and is not one of our own or somebody else's.
    public static func isEncoded(_ name: String) -> Bool {
        !name.hasPrefix(".")
            && name.utf8.allSatisfy { byte in
                switch Unicode.Scalar(byte) {
                case "a"..."z", "A"..."Z", "0"..."9", "-", "_", ".", "%": true
                default: false
                }
            }
    }
}
