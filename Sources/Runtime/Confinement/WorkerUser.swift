import CLinux
import Glibc
import Platform

/// The user and group that a worker becomes: its own, and nobody else's on this host.
///
/// Process IDs are unique in a PID namespace while a process lives and have 22 bits at most (proc(5), `/proc/sys/kernel/pid_max`), so a
/// range of that size gives each living worker one without a record of who has which. 0x7f800001 to 0x7fbfffff lies in what
/// systemd's list of user IDs ("Users, Groups, UIDs and GIDs on systemd Systems") has as unused: above its containers' IDs
/// (to 0x6fffffff) and below those of foreign images (0x7ffe0000 to 0x7ffeffff).
public struct WorkerUser: Equatable, Sendable {
    /// The first of the range.
    public static let first: UInt32 = 0x7f80_0000
    /// The user ID, and the group ID.
    public let number: UInt32

    /// The user of a worker with this process ID.
    public init(of process: pid_t) throws(Failure) {
        guard let number = UInt32(exactly: process), number > 0, number < 1 << 22 else {
            throw Failure("cannot give the worker a user of its own", because: "\(process) is no process ID")
        }
        self.number = Self.first + number
    }

    /// The user that the supervisor named; nil if it is outside the range.
    public init?(_ number: UInt32) {
        guard number > Self.first, number < Self.first + 1 << 22 else { return nil }
        self.number = number
    }

    /// Becomes this user, for good, with no other group.
    ///
    /// Needs CAP_SETUID and CAP_SETGID. setresuid(2), setgroups(2)
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
