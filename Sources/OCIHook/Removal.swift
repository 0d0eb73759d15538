import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState

/// The `poststop` stage: the fast path of the clean-up that the supervisor does by itself when the init is dead.
///
/// Engines call it on every stop, twice, or for containers that never had a TPM. It touches no state but one that was
/// made for a container which never came to be.
public struct Removal {
    private let state: ContainerState
    private let hostPaths: HostPaths
    private let setting: HookSetting

    /// How long the supervisor may take, in milliseconds: containerd gives the whole clean-up five seconds.
    private static let timeout = 3500

    /// A removal for a container in this state.
    public init(of state: ContainerState, on hostPaths: HostPaths, _ setting: HookSetting) {
        self.state = state
        self.hostPaths = hostPaths
        self.setting = setting
    }

    /// Waits until nothing of the container's vTPM is left, and removes what a killed supervisor has left.
    public func run() throws(Failure) {
        let runDirectory: Descriptor
        do {
            runDirectory = try .open(hostPaths.leases, .directory)
        } catch let error where error.code == ENOENT {
            return
        }
        let name = try Lease.name(containerID: state.id, bundle: state.bundle)
        guard let opened = try OpenLease.open(name, in: runDirectory) else { return }
        try awaitSupervisor(in: opened.directory)

        // Meanwhile a new container of the same ID may have been created: its lease is another directory.
        guard try opened.isCurrent(in: runDirectory) else { return }
        let leftovers = Leftovers(on: hostPaths, setting)
        guard let lease = try opened.read() else {
            // Its hook was killed, or is at it.
            return try leftovers.remove(name, in: runDirectory)
        }
        guard try !lease.initProcess.isAlive() else {
            // Its number must stay taken for as long as it could use its node.
            Log.subject = LogSubject(container: state.id, state: lease.stateID, tpm: lease.tpmNumber)
            let pid = lease.initProcess.process
            Log.error("poststop of container \"\(state.id)\" leaves its vTPM: its init \(pid) is alive", .kept)
            return
        }
        try lease.supervisor.killAndWait()
        try lease.worker.killAndWait()
        try leftovers.undo(opened, in: runDirectory)
    }

    /// Waits until the supervisor has cleaned up and ended, or for so long as there is time for it.
    private func awaitSupervisor(in directory: borrowing Descriptor) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.timeout)
        let buffer = Channel.makeBuffer()
        do {
            let channel = try ControlSocket.connect(in: directory, until: deadline)
            try channel.send(ControlRequest.stop, until: deadline)
            while try wait(for: channel.descriptor.number, until: deadline) != 0 {
                guard try channel.receive(into: buffer) != nil else { return }
            }
        } catch let error where [ECONNREFUSED, ENOENT, EPIPE, ECONNRESET, EAGAIN].contains(error.code) {
            // There is none any more, or it stands still.
        }
    }
}

extension ProcessID {
    /// Kills the process, if it is still the same one, and waits until it is gone.
    fileprivate func killAndWait() throws(Failure) {
        guard let reference = try reference() else { return }
        reference.kill()
        _ = try wait(for: reference.descriptor.number, until: Deadline(milliseconds: 1000))
    }
}
