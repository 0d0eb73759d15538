import Glibc
import Platform
import VTPMProxy

/// Puts a vTPM's nodes into a container, and takes them out again if the rest of its creation fails.
package enum Placement {
    /// Refuses a container whose `/dev` cannot take the nodes, before anything is made for it.
    ///
    /// Returns the ID that the group of this name has in the container's `/etc/group`; nil if no name is given.
    @discardableResult
    package static func examine(
        _ initProcess: borrowing ProcessHandle,
        rootPath: String,
        group: String? = nil
    ) throws(Failure) -> gid_t? {
        let host = try HostMounts(Procfs())
        return try MountNamespace.run(in: initProcess) { () throws(Failure) in
            try ContainerDev(of: ContainerRoot(rootPath), host: host).examine()
            guard let group else { return nil }
            return try ContainerRoot(rootPath).groupID(named: group)
        }
    }

    /// Mounts both nodes in the container's `/dev`, and the log beside them, and unmounts them if `rest` throws.
    ///
    /// `rest` runs in the host's mount namespace, with the nodes as the container will find them.
    ///
    /// - Parameters:
    ///   - devices: The two devices.
    ///   - owner: The owner, group and mode of the nodes.
    ///   - label: SELinux's label for the nodes; nil to leave the policy's.
    ///   - log: The event log of the launch; nil if there is none.
    ///   - initProcess: The container's first process.
    ///   - rootPath: The path of the container's root filesystem on the host.
    ///   - privateMountPoint: A directory of the hook's own.
    ///   - rest: The rest of the creation.
    /// - Throws: ``Failure`` if the nodes cannot be mounted, or the error of `rest`.
    package static func place(
        _ devices: RegisteredTPM,
        owner: DeviceOwner,
        label: String? = nil,
        log: [UInt8]? = nil,
        in initProcess: borrowing ProcessHandle,
        rootPath: String,
        privateMountPoint: String,
        rest: (_ tpm: borrowing Descriptor, _ tpmrm: borrowing Descriptor) throws(Failure) -> Void
    ) throws(Failure) {
        let host = try HostMounts(Procfs())
        let nodes = try DeviceNodes.make(
            of: devices,
            owner: owner,
            label: label,
            log: log,
            mountedOn: privateMountPoint
        )
        var placed = try MountNamespace.run(in: initProcess) { () throws(Failure) in
            try attach(nodes, devices, to: ContainerDev(of: ContainerRoot(rootPath), host: host))
        }
        do {
            try rest(placed.tpm, placed.tpmrm)
        } catch {
            undo(&placed.dev, initProcess)
            throw error
        }
    }

    private struct Placed: ~Copyable {
        var dev: ContainerDev
        let tpm: Descriptor
        let tpmrm: Descriptor
    }

    private static func attach(
        _ nodes: borrowing DeviceNodes,
        _ devices: RegisteredTPM,
        to dev: consuming ContainerDev
    ) throws(Failure) -> Placed {
        do {
            try dev.attach(nodes.tpm, as: "tpm0")
            try dev.attach(nodes.tpmrm, as: "tpmrm0")
            try nodes.log.attach(to: &dev)
            let tpm = try dev.find(nodes.tpm, as: "tpm0", devices.tpm)
            let tpmrm = try dev.find(nodes.tpmrm, as: "tpmrm0", devices.tpmrm)
            return Placed(dev: dev, tpm: tpm, tpmrm: tpmrm)
        } catch {
            dev.detachAll()
            throw error
        }
    }

    private static func undo(_ dev: inout ContainerDev, _ initProcess: borrowing ProcessHandle) {
        do throws(Failure) {
            try MountNamespace.run(in: initProcess) { dev.detachAll() }
        } catch let error where error.code == ESRCH {
            // The namespace and its mounts ended with its last process.
        } catch {
            Log.error("\(error)")
        }
    }
}
