import Glibc
import Platform

/// All leases of the host: the directories in `/run/container-vtpm`.
public enum Leases {
    /// Returns the names of all leases' directories.
    public static func names(in runDirectory: borrowing Descriptor) throws(Failure) -> [String] {
        try entries(of: runDirectory, "the run directory").filter { !$0.hasPrefix(".") }.sorted()
    }

    /// Calls `body` with each lease's directory and the record in it, or nil if the hook has not written it.
    ///
    /// A lease that is removed meanwhile is left out, and one that cannot be read is passed over.
    ///
    /// - Returns: The errors of the leases that were passed over.
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

    /// Returns whether an error is a shortage of this process's own, which says nothing about the lease.
    private static func isOfOurs(_ error: Failure) -> Bool {
        [EMFILE, ENFILE, ENOMEM, ENOBUFS].contains(error.code)
    }
}
