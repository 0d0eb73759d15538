import Crypto
import Platform

/// Names of state directories.
public enum StateDirectoryName {
    /// The longest state ID, in bytes of UTF-8.
    public static let identifierLimit = 4096

    /// Returns the directory name of a state ID; two different IDs never share one.
    ///
    /// Letters, digits, `-`, `_` and, except at the start, `.` stand for themselves. Every other byte of the UTF-8 form
    /// is `%` and two hexadecimal digits. The names of our own files start with `.`, which no state's does. If a name
    /// would be too long, its beginning is kept, and `%-` and the SHA-256 of the ID follow; no other name contains
    /// `%-`. A file system that ignores case does not distinguish all names.
    ///
    /// Throws a ``Failure`` if the ID is empty or longer than ``identifierLimit``.
    public static func encoded(_ stateID: String) throws(Failure) -> String {
        func refused(_ why: String) -> Failure {
            // Unicode scalars, since one character can be as long as the whole ID.
            Failure("cannot use \"\(String(stateID.unicodeScalars.prefix(64)))\" as a state ID", because: why)
        }
        let bytes = Array(stateID.utf8)
        guard !bytes.isEmpty else { throw refused("it is empty") }
        guard bytes.count <= identifierLimit else {
            throw refused("it has \(bytes.count) bytes, more than \(identifierLimit)")
        }
        // Bytes and not a string: at each start of a vTPM this runs for every change in the index's journal.
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

    /// The longest plain name, in bytes: NAME_MAX is 255, and a directory that is being created has a prefix.
    static let lengthLimit = 240
    /// The bytes of a name that is too long that are kept.
    static let keptLength = 150

    /// Returns whether a name can be that of a state's directory.
    ///
    /// It is false for the names of our own files, which start with `.`, and for names with other characters than ours.
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
