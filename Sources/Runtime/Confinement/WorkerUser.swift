import CLinux
import Glibc
import Platform

/// The user and group of a worker, which no other process on this host has.
///
/// A process ID is unique in its PID namespace while the process lives, and has at most 22 bits (proc(5),
/// `/proc/sys/kernel/pid_max`). A range of that size gives each living worker its own user without any record. The
/// range from 0x7f800001 to 0x7fbfffff is unused in systemd's list of user IDs ("Users, Groups, UIDs and GIDs on
/// systemd Systems"): it is above the IDs of containers (to 0x6fffffff) and below those of foreign images (0x7ffe0000
/// to 0x7ffeffff).
public struct WorkerUser: Equatable, Sendable {
    /// The base of the range: the user ID is the sum of this and the process ID.
    public static let first: UInt32 = 0x7f80_0000
    /// The user ID and the group ID.
    public let number: UInt32

    /// Creates the user of a worker with this process ID.
    public init(of process: pid_t) throws(Failure) {
        guard let number = UInt32(exactly: process), number > 0, number < 1 << 22 else {
            throw Failure("cannot give the worker a user of its own", because: "\(process) is no process ID")
        }
        self.number = Self.first + number
    }

    /// Creates the user with an ID from the supervisor; returns nil if it is outside the range.
    public init?(_ number: UInt32) {
        guard number > Self.first, number < Self.first + 1 << 22 else { return nil }
        self.number = number
    }

    /// Changes this process permanently to this user and group, without supplementary groups. setresuid(2),
    /// setgroups(2)
    ///
    /// Needs CAP_SETUID and CAP_SETGID.
    func become() throws(Failure) {
        let what = "cannot become user \(number)"
        try systemCall("setgroups", what) { setgroups(0, nil) }
        try systemCall("setresgid", what) { setresgid(number, number, number) }
        try systemCall("setresuid", what) { setresuid(number, number, number) }
        var (user, effectiveUser, savedUser) = (uid_t(), uid_t(), uid_t())
        var (group, effectiveGroup, savedGroup) = (gid_t(), gid_t(), gid_t())
        try systemCall("getresuid", what) { getresuid(&user, &effectiveUser, &savedUser) }
        try systemCall("getresgid", what) { getresgid(&group, &effectiveGroup, &savedGroup) }
        let all = [user, effectiveUser, savedUser, group, effectiveGroup, savedGroup]
        guard all.allSatisfy({ $0 == number }), getgroups(0, nil) == 0 else {
            throw Failure(what, because: "another user or group is left")
        }
    }
}
