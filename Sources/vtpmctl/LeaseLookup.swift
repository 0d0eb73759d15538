import Glibc
import Platform
import RuntimeControl
import RuntimeLease

extension HostOptions {
    /// Returns what `read` makes of each lease of a container; more than one container can have an ID, by different engines.
    func leases<Value>(
        of container: String,
        _ read: (borrowing OpenLease, Lease) throws(Failure) -> Value
    ) throws(Failure) -> [Value] {
        let path = try hostPaths().leases
        guard access(path, F_OK) == 0 else { return [] }
        var found: [Value] = []
        _ = try Leases.each(in: Descriptor.open(path, .directory)) { (opened, lease) throws(Failure) in
            guard let lease, lease.containerID == container else { return }
            found.append(try read(opened, lease))
        }
        return found
    }
}
