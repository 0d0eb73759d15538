import Platform
import RuntimeControl
import RuntimeLease
import Systemd
import VTPMProxy

/// A container that can take a TPM, as far as that can be told before it gets one.
///
/// ``end()`` must be called when it is no longer needed.
struct ExaminedContainer {
    let request: CreationRequest
    let selinux: SELinuxAccess?
    /// The owner of the nodes.
    let owner: DeviceOwner
    let deviceAccess: DeviceAccess
    /// The container's cgroup; nil if its init is the first process of a PID namespace of its own.
    let cgroup: ContainerCgroup?

    /// Ends the probe in the container's cgroups.
    func end() { deviceAccess.end() }
}

extension Creation {
    /// Refuses a container that cannot have a TPM, before anything is made for it.
    func examine(
        _ request: CreationRequest,
        of container: borrowing ContainerInit,
        _ systemd: SystemdClient?
    ) throws(Failure) -> ExaminedContainer {
        let selinux = try SELinuxAccess(of: request.config, SELinuxPolicy.current(container.procfs))
        try selinux?.examine()
        let owner = try examineDev(request, of: container)
        let deviceAccess = try DeviceAccess(
            of: container.process,
            cgroupsPath: request.config.linux?.cgroupsPath,
            systemd: systemd,
            probe: hostPaths.program("vtpm-hook")
        )
        do {
            return ExaminedContainer(
                request: request,
                selinux: selinux,
                owner: owner,
                deviceAccess: deviceAccess,
                cgroup: try SharedPIDNamespace.cgroup(of: container, id: state.id, request, deviceAccess)
            )
        } catch {
            deviceAccess.end()
            throw error
        }
    }

    /// Puts the nodes into the container, lets it use them, and leaves the vTPM to its supervisor.
    func complete(
        _ lease: Lease,
        named leaseName: String,
        for container: borrowing ContainerInit,
        _ examined: ExaminedContainer,
        _ supervisor: SupervisorLink,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) {
        let registered = try lease.registered()
        try Placement.place(
            registered,
            owner: examined.owner,
            label: examined.selinux?.nodeLabel,
            log: supervisor.withLease { (lease) throws(Failure) in try lease.launchLog() },
            in: container.process,
            rootPath: examined.request.rootPath,
            privateMountPoint: "\(hostPaths.leases)/\(leaseName)"
        ) { (tpm, tpmrm) throws(Failure) in
            try examined.selinux?.check([tpm.number, tpmrm.number])
            try examined.deviceAccess.allow([registered.tpm, registered.tpmrm], nodes: [tpm.number, tpmrm.number])
            try HeldNumbers.hold(lease, named: leaseName, in: runDirectory) { () throws(Failure) in
                try supervisor.commit()
            }
        }
    }
}

extension Lease {
    /// Returns the vTPM's device numbers.
    func registered() throws(Failure) -> RegisteredTPM {
        guard let tpm = DeviceNumber(tpm), let tpmrm = DeviceNumber(tpmrm) else {
            throw Failure("cannot use the lease of \"\(containerID)\"", because: "its device numbers make no sense")
        }
        return RegisteredTPM(number: tpmNumber, tpm: tpm, tpmrm: tpmrm)
    }
}
