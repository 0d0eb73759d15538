import Glibc
import Platform
import VTPMProxy

/// Putting a vTPM's nodes into a container, and taking them out again when the rest of its creation fails.
package enum Placement {
    /// Refuses a container whose `/dev` cannot take the nodes, before anything is made for it.
    ///
    /// Returns the ID that a group of this name has in the container, where one is asked for.
    @discardableResult
    package static func examine(
        _ initProcess: borrowing ProcessReference,
        rootPath: String,
        group: String? = nil
    ) throws(Failure) -> gid_t? {
        let host = try HostMounts(Procfs())
        let excursion = try PrivateNamespace()
        try excursion.enter(initProcess)
        let dev = try ContainerDev(of: ContainerRoot(rootPath), host: host)
        try dev.examine()
        guard let group else { return nil }
        return try GroupFile.id(of: group, in: ContainerRoot(rootPath))
    }

    /// Mounts both nodes into the container's `/dev` and runs `rest`, in the host's namespace, with the nodes as the
    /// container has them.
    ///
    /// The label is SELinux's, for the nodes; nothing where they keep the one that the policy gives them.
    /// If it throws, the nodes are taken away again.
    package static func place(
        _ devices: RegisteredTPM,
        owner: DeviceOwner,
        label: String? = nil,
        in initProcess: borrowing ProcessReference,
        rootPath: String,
        privateMountPoint: String,
        rest: (_ tpm: borrowing Descriptor, _ tpmrm: borrowing Descriptor) throws(Failure) -> Void
    ) throws(Failure) {
        let host = try HostMounts(Procfs())
        var placed = try attach(devices, owner, label, initProcess, rootPath, host, privateMountPoint)
        do {
            try rest(placed.tpm, placed.tpmrm)
        } catch {
            undo(&placed.dev, initProcess)
            throw error
        }
    }

    private static func undo(_ dev: inout ContainerDev, _ initProcess: borrowing ProcessReference) {
        do throws(Failure) {
            let excursion = try PrivateNamespace()
            try excursion.enter(initProcess)
            dev.detachAll()
        } catch let error where error.code == ESRCH {
            // The namespace has ended with its last process, and the mounts with it.
        } catch {
            Log.error("\(error)")
        }
    }

    private struct Placed: ~Copyable {
        var dev: ContainerDev
        let tpm: Descriptor
        let tpmrm: Descriptor
    }

    private static func attach(
        _ devices: RegisteredTPM,
        _ owner: DeviceOwner,
        _ label: String?,
        _ initProcess: borrowing ProcessReference,
        _ rootPath: String,
        _ host: HostMounts,
        _ privateMountPoint: String
    ) throws(Failure) -> Placed {
        let excursion = try PrivateNamespace()
        let nodes = try DeviceNodes(of: devices, owner: owner, label: label, mountedOn: privateMountPoint)
        try excursion.enter(initProcess)
        var dev = try ContainerDev(of: ContainerRoot(rootPath), host: host)
        do {
            try dev.attach(nodes.tpm, as: "tpm0")
            try dev.attach(nodes.tpmrm, as: "tpmrm0")
            let tpm = try dev.find(nodes.tpm, as: "tpm0", devices.tpm)
            let tpmrm = try dev.find(nodes.tpmrm, as: "tpmrm0", devices.tpmrm)
            return Placed(dev: dev, tpm: tpm, tpmrm: tpmrm)
        } catch {
            dev.detachAll()
            throw error
        }
    }
}
