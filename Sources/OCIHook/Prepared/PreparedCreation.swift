import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeLease
import RuntimeState
import Systemd
import VTPMProxy

/// A vTPM that is registered and has no container yet: the steps of ``Creation`` that need none.
final class PreparedCreation {
    let registered: RegisteredTPM
    private let supervisor: SupervisorLink
    private let leftovers: Leftovers
    private let worker: ProcessID
    /// How long a hook may take to say what it wants, in milliseconds.
    private static let timeout = 5000

    /// Makes the vTPM, and writes its lease, in which the runtime stands for the container's init.
    ///
    /// `requested` decides which state it gets, once leftovers are gone. If this throws, everything has been undone.
    init(
        _ creation: Creation,
        hookTimeout: Int?,
        unit: String?,
        for runtime: borrowing RuntimeProcess,
        in runDirectory: borrowing Descriptor,
        requested: () throws(Failure) -> RequestedState
    ) throws(Failure) {
        let hostPaths = creation.hostPaths
        let leaseName = try Lease.name(containerID: creation.state.id, bundle: creation.state.bundle)
        try creation.requireNone(leaseName, in: runDirectory)
        let control = try openProxyControl()
        try creation.awaitSlot(on: control, for: runtime.process, hookTimeout: hookTimeout)
        let keysLock = try HostContext.lockKeys(hostPaths, shared: true)
        let systemd = try SystemdClient.ofHost(hostPaths)
        defer { systemd?.end() }
        let place = try VTPMPlace.choose(systemd, leaseName: leaseName, runtime.procfs)
        let supervisor = try creation.startSupervisor(in: place)
        let leftovers = Leftovers(on: hostPaths, creation.setting, of: runtime.identity)
        var workerID: ProcessID?
        do {
            leftovers.removeAll(in: runDirectory)
            place.removeLeftovers(runDirectory)
            HeldNumbers.release(in: runDirectory)
            let requested = try requested()
            Log.subject.state = requested.identity.stateID
            let identity = ContainerIdentity(initProcess: runtime.identity, cgroup: nil)
            let host = try creation.begin(supervisor, requested, leaseName, identity, runtime.watch(), runDirectory)
            let worker = try supervisor.awaitWorker(runtime.procfs)
            let running = try ProcessID(of: worker.process)
            workerID = running
            let scope = try place.beginScope(
                for: creation.state.id,
                of: runtime.process,
                runtime.procfs,
                making: unit,
                supervisor: supervisor.process,
                worker: worker,
                using: [hostPaths.states, hostPaths.leases]
            )
            let started = try supervisor.awaitReady { () throws(Failure) in
                try creation.startAuthority(for: requested, host)
            }
            keysLock.release()
            registered = try creation.registerDevice(from: control, supervisor, runDirectory)
            Log.subject.tpm = registered.number
            keepRandomnessFromVTPMs(new: registered.number, in: runDirectory)
            _ = try creation.writeLease(
                of: registered,
                requested,
                identity,
                supervisor,
                worker.process,
                started,
                place.finish(scope, worker: worker, runtime.procfs),
                in: runDirectory
            )
            self.worker = running
        } catch {
            Self.abandon(supervisor, workerID, leftovers, in: runDirectory)
            throw error
        }
        self.supervisor = supervisor
        self.leftovers = leftovers
    }

    /// The event log of the launch; nil if it was not measured.
    func launchLog() throws(Failure) -> [UInt8]? {
        try supervisor.withLease { (lease) throws(Failure) in try lease.launchLog() }
    }

    /// Completes the creation for a process that needs no hook any more: from here on the vTPM lives as long as it does.
    func commit() throws(Failure) { try supervisor.commit() }

    /// Writes down that the vTPM waits for its hook; returns the socket on which the hook will ask for it.
    func announce(_ record: PreparedVTPM) throws(Failure) -> Descriptor {
        try supervisor.withLease { (lease) throws(Failure) in
            try lease.write(record)
            return try ControlSocket.listen(in: lease.directory, as: AdoptionRequest.socketName)
        }
    }

    /// Takes back what ``announce(_:)`` has written, once `config.json` names nothing any more.
    func withdraw() throws(Failure) {
        try supervisor.withLease { (lease) throws(Failure) in try lease.removePrepared() }
    }

    /// Ends the supervisor, which undoes the vTPM, unless a hook has it.
    func abandonUnlessHandedOver(in runDirectory: borrowing Descriptor) {
        Self.abandon(supervisor, worker, leftovers, in: runDirectory)
    }

    /// A worker whose supervisor was killed would live as long as the runtime, and keep their cgroup.
    private static func abandon(
        _ supervisor: SupervisorLink,
        _ worker: ProcessID?,
        _ leftovers: Leftovers,
        in runDirectory: borrowing Descriptor
    ) {
        guard !supervisor.isCommitted else { return }
        supervisor.end()
        do throws(Failure) {
            switch try worker?.reference() {
            case .none: break
            case .some(let process): try process.awaitEnd(milliseconds: 0)
            }
        } catch {
            Log.error("\(error)")
        }
        supervisor.abandonUnlessCommitted(in: runDirectory, leftovers)
    }

    /// Waits for the hook, and hands the vTPM over to it once `restore` has put `config.json` back.
    ///
    /// If the vTPM fails, this waits on: a runtime that has not read `config.json` yet must find the hook in it, which then
    /// refuses the container. The lease keeps the number meanwhile.
    ///
    /// - Throws: ``Failure`` if the runtime ends before, if it gives the container up, or if the vTPM has failed.
    func awaitAdoption(
        of name: PreparedName,
        _ listener: borrowing Descriptor,
        _ runtime: borrowing RuntimeProcess,
        restore: () throws(Failure) -> Void
    ) throws(Failure) {
        var failure: Failure?
        while true {
            let event = look(for: name, listener, runtime, failure, restore)
            switch event {
            case .nothing: continue
            case .handedOver: return
            case .ended(let reason): throw failure ?? reason
            case .refused(let reason): throw reason
            case .failed(let reason):
                // The runtime may not have read config.json yet, so that nothing may be put back.
                if failure == nil { supervisor.end() }
                failure = failure ?? reason
                // What goes on failing must not keep a processor busy.
                sleep(milliseconds: 50)
            }
        }
    }

    /// What ends a wait.
    private enum Event {
        /// Nothing that counts.
        case nothing
        /// A hook has the vTPM.
        case handedOver
        /// The vTPM has failed, or could not be watched.
        case failed(Failure)
        /// The runtime has ended.
        case ended(Failure)
        /// The container is not created, and its runtime has read `config.json`: somebody knows the token.
        case refused(Failure)
    }

    private func look(
        for name: PreparedName,
        _ listener: borrowing Descriptor,
        _ runtime: borrowing RuntimeProcess,
        _ failure: Failure?,
        _ restore: () throws(Failure) -> Void
    ) -> Event {
        do throws(Failure) {
            var set = PollSet()
            let runtimeIndex = set.add(runtime.process.descriptor.number)
            // One that has failed has nothing more to say.
            let supervisorIndex = failure == nil ? set.add(supervisor.number) : nil
            let listenerIndex = set.add(listener.number)
            try set.wait()
            if let supervisorIndex, set.isReady(supervisorIndex) { try supervisor.check() }
            if set.isReady(listenerIndex), let client = try ControlSocket.accept(from: listener) {
                return try answer(client, name, failure, restore)
            }
            return set.isReady(runtimeIndex) ? .ended(RuntimeProcess.ended) : .nothing
        } catch {
            return .failed(error)
        }
    }

    /// Answers a hook, or the poststop of a container that is not created.
    private func answer(
        _ client: Channel,
        _ name: PreparedName,
        _ failure: Failure?,
        _ restore: () throws(Failure) -> Void
    ) throws(Failure) -> Event {
        let deadline = Deadline(milliseconds: Self.timeout)
        guard try wait(for: client.descriptor.number, until: deadline) != 0,
            let message = try? client.receive(into: Channel.makeBuffer())
        else { return .nothing }
        let what = "cannot start the vTPM"
        switch AdoptionRequest(message) {
        case .adopt(name.token): break
        case .abandon(name.token):
            return .refused(failure ?? Failure(what, because: "the runtime has given the container up"))
        case .adopt:
            let other = Failure(what, because: "config.json names another one than the lease")
            try? client.send(AdoptionReply.failure(other))
            return .nothing
        case .abandon, .none: return .nothing
        }
        do throws(Failure) {
            if let failure { throw failure }
            try restore()
            try withdraw()
            try supervisor.handOver(to: client)
            return .handedOver
        } catch {
            try? client.send(AdoptionReply.failure(error))
            return .refused(error)
        }
    }
}
