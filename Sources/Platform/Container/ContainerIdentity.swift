import Glibc

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

    /// Writes the identity into a message.
    public func encode(into writer: inout ByteWriter) {
        writer.write(UInt32(bitPattern: initProcess.process))
        writer.write(initProcess.startTime)
        CgroupIdentity.write(cgroup, to: &writer)
    }

    /// Reads ``encode(into:)``; returns nil if the bytes are anything else.
    public init?(_ reader: inout ByteReader) {
        var cgroup: CgroupIdentity?
        guard let process = reader.read(UInt32.self), let startTime = reader.read(UInt64.self),
            CgroupIdentity.read(&cgroup, from: &reader)
        else { return nil }
        self.init(
            initProcess: ProcessID(process: pid_t(bitPattern: process), startTime: startTime),
            cgroup: cgroup
        )
    }

    /// Returns whether any process of the container's is alive, as ``ContainerWatch`` defines it.
    ///
    /// - Throws: ``Failure`` if that cannot be found out.
    public func isAlive() throws(Failure) -> Bool {
        if try initProcess.isAlive() { return true }
        return try cgroup?.isPopulated() ?? false
    }
}
