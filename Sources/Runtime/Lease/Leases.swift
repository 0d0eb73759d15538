import Glibc
import Platform

/// All leases of the host: the directories in `/run/container-vtpm`.
public enum Leases {
    /// The names of all leases' directories.
    public static func names(in runDirectory: borrowing Descriptor) throws(Failure) -> [String] {
        try entries(of: runDirectory, "the run directory").filter { !$0.hasPrefix(".") }.sorted()
    }

    /// Calls `body` with each lease, opened, and what the hook has written, or nil if it has not.
    ///
    /// One that goes away meanwhile is left out. One that cannot be read is passed over.
    ///
    /// - Returns: What is wrong with those that were passed over.
    public static func each(
        in runDirectory: borrowing Descriptor,
        _ body: (borrowing OpenLease, Lease?) throws(Failure) -> Void
    ) throws(Failure) -> [Failure] {
        var problems: [Failure] = []
        for name in try names(in: runDirectory) {
            switch try read(name, in: runDirectory, &problems) {
            case .none: continue
            case .some(let found): try body(found.opened, found.lease)
            }
        }
        return problems
    }

    private struct Found: ~Copyable {
        let opened: OpenLease
        let lease: Lease?
    }

    private static func read(
        _ name: String,
        in runDirectory: borrowing Descriptor,
        _ problems: inout [Failure]
    ) throws(Failure) -> Found? {
        do throws(Failure) {
            guard let opened = try OpenLease.open(name, in: runDirectory) else { return nil }
            let lease = try opened.read()
            return Found(opened: opened, lease: lease)
        } catch {
            guard !isOfOurs(error) else { throw error }
            problems.append(error)
            return nil
        }
    }

    /// Whether an error is one of this process's own shortages, which says nothing of the lease.
    private static func isOfOurs(_ error: Failure) -> Bool {
        [EMFILE, ENFILE, ENOMEM, ENOBUFS].contains(error.code)
    }
}
