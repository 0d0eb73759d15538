import CLinux
import Glibc
import Platform

/// Which files this process may reach, whatever its user and capabilities would let it. landlock(7)
package struct Landlock: ~Copyable {
    /// What may be done below a directory or with a file; values of linux/landlock.h.
    struct Access: OptionSet {
        let rawValue: UInt64

        static let writeFile = Access(rawValue: 1 << 1)
        static let readFile = Access(rawValue: 1 << 2)
        static let readDirectory = Access(rawValue: 1 << 3)
        static let removeDirectory = Access(rawValue: 1 << 4)
        static let removeFile = Access(rawValue: 1 << 5)
        static let makeFile = Access(rawValue: 1 << 8)
        /// ABI 3.
        static let truncate = Access(rawValue: 1 << 14)

        static let read: Access = [.readFile, .readDirectory]
        /// A file is written beside another and put into its place.
        static let replaceFiles: Access = [.readFile, .writeFile, .makeFile, .removeFile, .truncate]
    }

    /// What beside files the kernel may deny, where it can.
    package enum Scope: UInt64 {
        /// Abstract sockets of others.
        case abstractSockets = 1
        /// Also signals to others.
        case abstractSocketsAndSignals = 3
    }

    private static let bindAndConnectTCP: UInt64 = 3

    private let ruleset: Descriptor
    private let handled: Access

    /// Denies everything, once it is enforced; nil if the kernel has no Landlock, or was started without it.
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
        // The kernel refuses what it does not know, also the size of it.
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

    /// Every right that a version knows of: it has grown by one bit with versions 2, 3 and 5.
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

    /// Allows this to a file, or to a directory and what is below it.
    borrowing func allow(_ access: Access, below file: borrowing Descriptor) throws(Failure) {
        var rule = landlock_path_beneath_attr()
        rule.allowed_access = access.intersection(handled).rawValue
        rule.parent_fd = file.number
        let number = ruleset.number
        try systemCall("landlock_add_rule", Self.what) { clinux_landlock_allow(number, &rule) }
    }

    /// Puts it into force, for good.
    ///
    /// Needs PR_SET_NO_NEW_PRIVS.
    package borrowing func enforce() throws(Failure) {
        let number = ruleset.number
        try systemCall("landlock_restrict_self", Self.what) { clinux_landlock_restrict(number) }
    }
}
