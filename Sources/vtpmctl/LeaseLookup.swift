import Glibc
import Platform
import RuntimeControl
import RuntimeLease

extension HostOptions {
    /// Returns what `read` makes of the lease of the one container with this ID; `what` is the start of errors.
    func lease<Value>(
        of container: String,
        _ what: String,
        _ read: (borrowing OpenLease, Lease) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let what = "\(what) \"\(container.excerpt)\""
        let found = try leases(of: container, read)
        guard let first = found.first else { throw Failure(what, because: "no container of this ID has a TPM") }
        guard found.count == 1 else { throw Failure(what, because: "\(found.count) containers have this ID") }
        return first
    }

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
