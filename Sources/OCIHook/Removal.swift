import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState

/// The `poststop` stage, a fast path for the clean-up that the supervisor does by itself once the container has ended.
///
/// Engines call it on every stop, some of them twice, and also for containers that never had a TPM. The only state that
/// it removes is one that was made for a container which was never created.
public struct Removal {
    private let state: ContainerState
    private let hostPaths: HostPaths
    private let setting: HookSetting
    private let timeout: Int

    /// Creates the stage for a container in this state.
    ///
    /// It waits for the supervisor for so many milliseconds; containerd gives the whole clean-up 5 s.
    public init(
        of state: ContainerState,
        on hostPaths: HostPaths,
        _ setting: HookSetting,
        timeout: Int = 3500
    ) {
        self.state = state
        self.hostPaths = hostPaths
        self.setting = setting
        self.timeout = timeout
    }

    /// Waits until the container's vTPM is gone, and removes the leftovers of a supervisor that was killed.
    ///
    /// Returns at once if the container has no lease, and its vTPM no cgroup. If the container is still alive, the vTPM
    /// stays, and the log has the reason.
    public func run() throws(Failure) {
        let runDirectory: Descriptor
        do {
            runDirectory = try .open(hostPaths.leases, .directory)
        } catch let error where error.code == ENOENT {
            return
        }
        try remove(in: runDirectory)
        // The kernel has chosen anew if this vTPM was the source of its random numbers.
        keepRandomnessFromVTPMs(in: runDirectory)
    }

    private func remove(in runDirectory: borrowing Descriptor) throws(Failure) {
        HeldNumbers.release(in: runDirectory)
        let name = try OpenLease.preparedName(containerID: state.id, bundle: state.bundle, in: runDirectory)
        guard let opened = try OpenLease.open(name, in: runDirectory) else {
            // If a creation failed because its supervisor was killed, the worker lived on until the init was dead, and kept
            // their cgroup.
            try VTPMCgroups.open(Procfs())?.remove(name)
            return
        }
        let prepared = try opened.prepared()
        // Its own name shows that the runtime has read the config.json of this creation: no hook has adopted the vTPM, so the
        // container was not created. Any other poststop is that of an earlier container with this ID.
        let isGivenUp = prepared != nil && prepared?.token == setting.prepared?.token
        var isStopping = false
        if let prepared {
            guard isGivenUp else { return }
            try SupervisorLink.abandonPrepared(prepared.token, in: opened, until: Deadline(milliseconds: timeout))
        } else {
            isStopping = try awaitSupervisor(in: opened.directory)
        }

        // A new container of the same ID may have been created meanwhile; its lease is another directory.
        guard try opened.isCurrent(in: runDirectory) else { return }
        let record = try opened.read()
        let leftovers = Leftovers(on: hostPaths, setting, of: isGivenUp ? record?.initProcess : nil)
        guard let lease = record else {
            // The hook was killed, or has not written the lease yet.
            return try leftovers.remove(name, in: runDirectory)
        }
        let isAlive = try lease.container.isAlive()
        guard isGivenUp || !isAlive else {
            // The number must stay reserved for as long as the container could use its node.
            Log.subject = LogSubject(container: state.id, state: lease.stateID, tpm: lease.tpmNumber)
            let pid = lease.initProcess.process
            let living = try lease.initProcess.isAlive() ? "its init \(pid) is" : "processes of its control group are"
            Log.error("poststop of container \"\(state.id)\" leaves its vTPM: \(living) alive", .kept)
            return
        }
        if isStopping, try lease.supervisor.isAlive() {
            // It gives its TPM and its worker a limited time, and cleans up by itself.
            Log.subject = LogSubject(container: state.id, state: lease.stateID, tpm: lease.tpmNumber)
            Log.notice("poststop of container \"\(state.id)\" leaves its vTPM to its supervisor: it still stops")
            return
        }
        try lease.supervisor.killAndWait()
        try lease.worker.killAndWait()
        try leftovers.undo(opened, in: runDirectory)
    }

    /// Waits until the supervisor has ended, or the timeout has passed; returns whether it is stopping.
    ///
    /// It is asked towards the end: a supervisor that hangs may have answered before.
    private func awaitSupervisor(in directory: borrowing Descriptor) throws(Failure) -> Bool {
        let deadline = Deadline(milliseconds: timeout)
        let question = Deadline(milliseconds: timeout - min(timeout / 2, 1000))
        let buffer = Channel.makeBuffer()
        do {
            let channel = try ControlSocket.connect(in: directory, until: deadline)
            try channel.send(ControlRequest.stop, until: deadline)
            while try wait(for: channel.descriptor.number, until: question) != 0 {
                guard try channel.receive(into: buffer) != nil else { return false }
            }
            try channel.send(ControlRequest.status, until: deadline)
            while try wait(for: channel.descriptor.number, until: deadline) != 0 {
                guard let message = try channel.receive(into: buffer) else { return false }
                if case .status(let status)? = ControlReply(message) { return status.health == .stopping }
            }
        } catch let error where [ECONNREFUSED, ENOENT, EPIPE, ECONNRESET, EAGAIN].contains(error.code) {
            // The supervisor has ended, or it does not respond.
        }
        return false
    }
}

extension ProcessID {
    /// Kills the process if its ID is not another's by now, and waits up to 1 s until it is gone.
    fileprivate func killAndWait() throws(Failure) {
        guard let reference = try reference() else { return }
        try reference.awaitEnd(milliseconds: 0)
    }
}
