/// The identity of a container for a file: what has to be gone before the container has ended.
public struct ContainerIdentity: Equatable, Sendable {
    /// The container's init.
    public let initProcess: ProcessID
    /// The container's cgroup; nil if its init is the first process of a PID namespace of its own.
    public let cgroup: CgroupIdentity?

    /// Creates the identity of a container.
    public init(initProcess: ProcessID, cgroup: CgroupIdentity?) {
        self.initProcess = initProcess
        self.cgroup = cgroup
    }

    /// Returns whether any process of the container's is alive, as ``ContainerWatch`` defines it.
    ///
    /// - Throws: ``Failure`` if that cannot be found out.
    public func isAlive() throws(Failure) -> Bool {
        if try initProcess.isAlive() { return true }
        return try cgroup?.isPopulated() ?? false
    }
}
