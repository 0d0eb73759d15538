import Glibc
import Platform

/// The search for a command before a TPM is made for it: a state must not come of a name that is mistyped. exec(3)
enum CommandSearch {
    /// Where execvp(3) looks without the variable PATH.
    static let standardPath = "/bin:/usr/bin"

    /// Returns why a command cannot be executed, with ENOENT or EACCES; nil if it can.
    static func problem(_ name: String, path: String?) -> Failure? {
        let what = "cannot execute \(name.excerpt)"
        guard !name.utf8.isEmpty else { return Failure(what, call: "execvp", code: ENOENT) }
        var code = ENOENT
        for candidate in candidates(name, path ?? standardPath) {
            var status = stat()
            guard stat(candidate, &status) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFREG, access(candidate, X_OK) == 0 { return nil }
            code = EACCES
        }
        return Failure(what, call: "execvp", code: code)
    }

    /// Returns the paths at which a command may be: its own if it has a slash, else one for each directory of PATH.
    static func candidates(_ name: String, _ path: String) -> [String] {
        guard !name.utf8.contains(UInt8(ascii: "/")) else { return [name] }
        return path.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false).map { folder in
            // An empty one is the working directory.
            folder.isEmpty ? name : "\(String(decoding: folder, as: UTF8.self))/\(name)"
        }
    }
}
