import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState

/// The `poststop` stage: the fast path of the clean-up that the supervisor does by itself when the init is dead.
///
/// Engines call it on every stop, twice, or for containers that never had a TPM; it never touches a state.
public struct Removal {
    private let state: ContainerState
    private let installation: Installation

    /// How long the supervisor may take, in milliseconds: containerd gives the whole clean-up five seconds.
    private static let patience = 3500

    /// A removal for a container in this state.
    public init(of state: ContainerState, on installation: Installation) {
        self.state = state
        self.installation = installation
    }

    /// Waits until nothing of the container's vTPM is left, and removes what a killed supervisor has left.
    public func run() throws(Failure) {
        let runDirectory: Descriptor
        do {
            runDirectory = try .open(installation.leases, .directory)
        } catch let error where error.code == ENOENT {
            return
        }
        let name = try StateName.lease(containerID: state.id, bundle: state.bundle)
        guard let directory = try Leases.open(name, in: runDirectory) else { return }
        let first = try directory.status("the lease \(name)")
        try awaitSupervisor(in: directory)

        // Meanwhile a new container of the same ID may have been created: its lease is another directory.
        guard let remaining = try Leases.open(name, in: runDirectory) else { return }
        let now = try remaining.status("the lease \(name)")
        guard now.st_ino == first.st_ino, now.st_dev == first.st_dev,
            let lease = try Lease.read(in: remaining, name)
        else { return }
        guard try !lease.initProcess.isAlive() else {
            // Its number must stay taken for as long as it could use its node.
            Log.error("poststop of container \"\(state.id)\" leaves its vTPM: its init \(lease.initPID) is alive")
            return
        }
        try lease.supervisor.killAndWait()
        try lease.worker.killAndWait()
        try LeaseFiles.remove(name, in: runDirectory)
    }

    /// Waits until the supervisor has cleaned up and ended, or for so long as there is time for it.
    private func awaitSupervisor(in directory: borrowing Descriptor) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.patience)
        let buffer = Channel.makeBuffer()
        do {
            let channel = try ControlSocket.connect(in: directory)
            try channel.send(ControlMessage.stop, until: deadline)
            while try wait(for: channel.descriptor.number, until: deadline) != 0 {
                guard try channel.receive(into: buffer) != nil else { return }
            }
        } catch let error where [ECONNREFUSED, ENOENT, EPIPE, ECONNRESET].contains(error.code) {
            // There is none any more.
        }
    }
}

extension ProcessIdentity {
    /// Kills the process, if it is still the same one, and waits until it is gone.
    fileprivate func killAndWait() throws(Failure) {
        guard let reference = try reference() else { return }
        reference.kill()
        _ = try wait(for: reference.descriptor.number, until: Deadline(milliseconds: 1000))
    }
}
