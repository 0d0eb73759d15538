import Configuration
import Launch
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import Systemd
import VTPMProxy

/// `vtpm-hook run [STATE]`: makes a vTPM for a process that is about to become a command on the host.
///
/// Descriptor 3 is a channel to that process. It makes a mount namespace and a `/dev` of its own meanwhile, into which the
/// nodes are mounted as into a container's. The vTPM lives as long as the process.
struct CommandCreation {
    /// The state's ID as `vtpmctl state list` prints it; nil for a TPM that is gone at the end.
    let stateID: String?
    let hostPaths: HostPaths

    /// How long the process may take to make its `/dev`, in milliseconds.
    private static let timeout = 10_000
    private static let what = "cannot give the command its TPM"

    /// Makes the vTPM, and answers the process at the other end.
    func run(_ channel: Channel) throws(Failure) {
        let command = try RuntimeProcess(at: channel)
        let state = ContainerState(ofCommand: command.identity.process)
        Log.subject.container = state.id
        // A name that cannot be one is refused before anything is made.
        if let stateID { _ = try StateDirectoryName.encoded(stateID) }
        let runDirectory = try openOwnDirectory(hostPaths.leases)
        try runDirectory.requireOwn(files: [], hostPaths.leases)
        let creation = Creation(of: state, on: hostPaths, HookSetting())
        let configuration = try creation.setting.loadConfiguration()
        let requested = RequestedState(
            identity: stateID.map { .persistent(stateID: $0) } ?? .ephemeral,
            keptFor: nil,
            configuration: configuration,
            launch: configuration.launch.isMeasured ? try LaunchStatement.ofCommand.event() : nil
        )
        let vTPM = try PreparedCreation(
            creation,
            hookTimeout: nil,
            unit: nil,
            for: command,
            in: runDirectory
        ) { () throws(Failure) in requested }
        defer { vTPM.abandonUnlessHandedOver(in: runDirectory) }
        try awaitDev(channel)
        let leaseName = try Lease.name(containerID: state.id, bundle: state.bundle)
        try place(vTPM, configuration.device.group, for: command, "\(hostPaths.leases)/\(leaseName)")
        try channel.send(PreparationReply.prepared)
    }

    /// Waits until the process has a `/dev` of its own.
    private func awaitDev(_ channel: Channel) throws(Failure) {
        guard try wait(for: channel.descriptor.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
            throw Failure(Self.what, because: "it makes no /dev of its own")
        }
        guard let message = try channel.receive(into: Channel.makeBuffer()) else {
            throw Failure(Self.what, because: "it ended before it had one")
        }
        guard case .ready? = CommandNotice(message) else {
            throw Failure(Self.what, because: "what it says makes no sense")
        }
    }

    /// Mounts the nodes in the process's `/dev`, and leaves the vTPM to its supervisor.
    private func place(
        _ vTPM: PreparedCreation,
        _ group: Configuration.Device.Group?,
        for command: borrowing RuntimeProcess,
        _ privateMountPoint: String
    ) throws(Failure) {
        guard try !command.procfs.sharesNamespace(.mount, with: command.identity.process) else {
            throw Failure(Self.what, because: "it has no mount namespace of its own")
        }
        let access = try DeviceAccess(
            of: command.process,
            cgroupsPath: nil,
            systemd: nil,
            probe: hostPaths.program("vtpm-hook"),
            stage: .running
        )
        defer { access.end() }
        let named = try Placement.examine(command.process, rootPath: "/", group: group?.name)
        let gid = named ?? group?.id
        let devices = [vTPM.registered.tpm, vTPM.registered.tpmrm]
        try Placement.place(
            vTPM.registered,
            owner: DeviceOwner(uid: 0, gid: gid ?? 0, mode: gid == nil ? 0o600 : 0o660),
            log: vTPM.launchLog(),
            in: command.process,
            rootPath: "/",
            privateMountPoint: privateMountPoint
        ) { (tpm, tpmrm) throws(Failure) in
            // The command's control groups are the caller's: they are asked, and not changed.
            guard try access.allows(devices, nodes: [tpm.number, tpmrm.number]) else {
                throw try access.denial(of: devices, Self.what)
                    .withHint("run it outside of that control group, or with DeviceAllow=char-tpm rwm in its unit")
            }
            try vTPM.commit()
        }
    }
}
