import CLinux
import Glibc
import Platform

/// A Landlock ruleset: it limits the files that this process can access, whatever its user and capabilities.
/// landlock(7)
package struct Landlock: ~Copyable {
    /// Access rights to files and directories, LANDLOCK_ACCESS_FS_* in linux/landlock.h.
    struct Access: OptionSet {
        let rawValue: UInt64

        static let writeFile = Access(rawValue: 1 << 1)
        static let readFile = Access(rawValue: 1 << 2)
        static let readDirectory = Access(rawValue: 1 << 3)
        static let removeDirectory = Access(rawValue: 1 << 4)
        static let removeFile = Access(rawValue: 1 << 5)
        static let makeFile = Access(rawValue: 1 << 8)
        /// Since ABI 3.
        static let truncate = Access(rawValue: 1 << 14)

        static let read: Access = [.readFile, .readDirectory]
        /// The rights to write a file beside another and to rename it over that one.
        static let replaceFiles: Access = [.readFile, .writeFile, .makeFile, .removeFile, .truncate]
    }

    /// Scopes, LANDLOCK_SCOPE_*, which the kernel enforces since ABI 6.
    package enum Scope: UInt64 {
        /// Denies connecting to abstract sockets of other processes.
        case abstractSockets = 1
        /// Also denies signals to other processes.
        case abstractSocketsAndSignals = 3
    }

    private static let bindAndConnectTCP: UInt64 = 3

    private let ruleset: Descriptor
    private let handled: Access

    /// Creates a ruleset that denies everything; returns nil if the kernel does not have Landlock or has disabled it.
    ///
    /// It takes effect with ``enforce()``.
    package init?(denying scope: Scope) throws(Failure) {
        let version = clinux_landlock_version()
        guard version >= 1 else {
            let code = errno
            guard code == ENOSYS || code == EOPNOTSUPP else {
                throw Failure(Self.what, call: "landlock_create_ruleset", code: code)
            }
            return nil
        }
        let handled = Self.handledAccess(version)
        var wanted = clinux_landlock_ruleset()
        wanted.handled_access_fs = handled.rawValue
        // The kernel refuses unknown bits, and a larger structure if its unknown fields are not zero.
        var fields = 1
        if version >= 4 {
            wanted.handled_access_net = Self.bindAndConnectTCP
            fields = 2
        }
        if version >= 6 {
            wanted.scoped = scope.rawValue
            fields = 3
        }
        let number = try systemCall("landlock_create_ruleset", Self.what) {
            clinux_landlock_create(&wanted, fields * MemoryLayout<UInt64>.size)
        }
        self.ruleset = Descriptor(owning: number)
        self.handled = handled
    }

    private static let what = "cannot restrict the files that this process may reach"

    /// Returns all access rights of an ABI version: versions 2, 3 and 5 each added one bit.
    private static func handledAccess(_ version: CInt) -> Access {
        let bits: UInt64 =
            switch version {
            case 1: 13
            case 2: 14
            case 3, 4: 15
            default: 16
            }
        return Access(rawValue: (1 << bits) - 1)
    }

    /// Allows access to a file, or to a directory and everything below it; ignores rights that the kernel does not
    /// know.
    borrowing func allow(_ access: Access, below file: borrowing Descriptor) throws(Failure) {
        var rule = landlock_path_beneath_attr()
        rule.allowed_access = access.intersection(handled).rawValue
        rule.parent_fd = file.number
        let number = ruleset.number
        try systemCall("landlock_add_rule", Self.what) { clinux_landlock_allow(number, &rule) }
    }

    /// Restricts this process permanently; needs PR_SET_NO_NEW_PRIVS. landlock_restrict_self(2)
    package borrowing func enforce() throws(Failure) {
        let number = ruleset.number
        try systemCall("landlock_restrict_self", Self.what) { clinux_landlock_restrict(number) }
    }
}
