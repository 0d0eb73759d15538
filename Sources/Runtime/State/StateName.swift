import Platform

/// Names of state directories and leases.
public enum StateName {
    /// The directory name of a state ID: two different IDs never share one.
    ///
    /// Letters, digits, `-`, `_` and, except at the start, `.` stand for themselves; every other byte of the UTF-8 form
    /// is `%` and two hexadecimal digits. A name of our own starts with `.`, which no ID's does.
    public static func encoded(_ stateID: String) throws(Failure) -> String {
        let what = "cannot use \"\(stateID.prefix(64))\" as a state ID"
        guard !stateID.isEmpty else { throw Failure(what, because: "it is empty") }
        let digits = Array("0123456789ABCDEF".unicodeScalars)
        var name = String.UnicodeScalarView()
        for (index, byte) in stateID.utf8.enumerated() {
            let scalar = Unicode.Scalar(byte)
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", "-", "_": name.append(scalar)
            case "." where index > 0: name.append(scalar)
            default: name.append(contentsOf: ["%", digits[Int(byte >> 4)], digits[Int(byte & 0xf)]])
            }
        }
        guard name.count <= lengthLimit else {
            throw Failure(what, because: "its directory name would have \(name.count) bytes, more than \(lengthLimit)")
        }
        return String(name)
    }

    /// NAME_MAX is 255; a directory in the making has a prefix.
    static let lengthLimit = 240

    /// The lease's directory name of a container: IDs are unique only per runtime and engine, bundles tell them apart.
    public static func lease(containerID: String, bundle: String) throws(Failure) -> String {
        let digest = try Cryptography.sha256(Array(containerID.utf8), [0], Array(bundle.utf8))
        return hexadecimal(digest.prefix(16))
    }

    /// Bytes as lower-case hexadecimal digits.
    public static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 0xf)]] })
    }
}
