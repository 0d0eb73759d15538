import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeState
import VTPMProxy

// How a supervisor turns what it receives into events of its vTPM's life.
extension Supervisor {
    /// Waits for events and handles them until the vTPM has ended.
    ///
    /// - Throws: ``Failure`` if the container was not created; everything has been undone then.
    func live() throws(Failure) {
        while lifecycle.phase != .ended {
            do {
                try pollOnce()
            } catch {
                handle(.failed(error))
                if lifecycle.phase == .ended { break }
                // If even poll(2) fails, this must not keep a processor busy.
                sleep(milliseconds: 100)
            }
        }
        if let abandonment { throw abandonment }
        // The record may have to wait for those of many others. By then poststop, which kills a supervisor that is late,
        // has nothing to do with this one any more.
        releaseContainer()
        recordStop()
    }

    /// Records the last generation in the host's index, so that no older one is accepted at the next start.
    private func recordStop() {
        do throws(Failure) {
            try store.recordUse(library: nil)
        } catch {
            Log.error(
                "\(name) could not record its stop: \(error); the next start of the \(stateName) records generation "
                    + "\(store.generation)"
            )
        }
    }

    /// Handles an event, and the events to which its actions lead.
    private func handle(_ event: Lifecycle.Event) {
        var next: Lifecycle.Event? = event
        while let event = next {
            next = nil
            for action in lifecycle.handle(event) {
                do {
                    next = try perform(action) ?? next
                } catch {
                    next = .failed(error)
                    break
                }
            }
        }
    }

    private func pollOnce() throws(Failure) {
        var set = PollSet()
        let signalIndex = set.add(signals.number)
        // Once the container has ended, its descriptors stay ready.
        let containerIndex = lifecycle.isStopping ? nil : container.watch(in: &set)
        let hookIndex = hook.map { set.add($0.descriptor.number) }
        let authorityIndex = endorsement?.authority.map { set.add($0.descriptor.number) }
        let workerIndex = worker.flatMap { $0.hasHungUp ? nil : set.add($0.channel.descriptor.number) }
        let exitIndex = worker.map { set.add($0.exit) }
        let listenerIndex = set.add(listener)
        let clientIndices = clients.map { set.add($0.descriptor.number) }
        let watched = responder.watch(in: &set)
        try set.wait(until: nextDeadline)

        if let workerIndex, set.isReady(workerIndex) { try handleWorkerMessage() }
        // A worker that has ended may have left messages, which are heard first.
        if let exitIndex, set.isReady(exitIndex), workerIndex.map({ !set.isReady($0) }) ?? true {
            if let status = try worker.take()?.end() { handle(.workerEnded("\(status)")) }
        }
        if let authorityIndex, set.isReady(authorityIndex) { try handleAuthorityMessage() }
        if let hookIndex, set.isReady(hookIndex) { try handleHookMessage() }
        if let containerIndex, try hasContainerEnded(set.isReady(containerIndex)) { handle(.initEnded) }
        if set.isReady(signalIndex) { try handleSignal() }
        // If the creation was undone, no client is answered any more.
        if abandonment != nil { return }
        serveClients(clientIndices, in: set)
        if set.isReady(listenerIndex) { acceptClient() }
        responder.respond(watched, in: set)
        if let deadline, deadline.hasPassed {
            self.deadline = nil
            handle(.timedOut)
        }
        if let time = startupPagesEnd, time.hasPassed {
            startupPagesEnd = nil
            Hardening.releaseStartupPages()
        }
    }

    /// When ``pollOnce()`` has something to do, even if nothing happens; nil if it has not.
    private var nextDeadline: Deadline? {
        let look = lifecycle.isStopping ? nil : container.nextLook
        return [deadline, startupPagesEnd, look].compactMap { $0 }.min()
    }

    /// Returns whether the container has ended.
    ///
    /// Until the container is complete, its init's end is enough: the hook's own probe may still be in its cgroup.
    private func hasContainerEnded(_ isReady: Bool) throws(Failure) -> Bool {
        guard isReady || container.isInitDead else { return false }
        let hasEnded = try container.hasEnded()
        return hasEnded || hook != nil && container.isInitDead
    }

    private func handleWorkerMessage() throws(Failure) {
        guard let message = try worker?.channel.receive(into: buffer) else {
            worker?.hasHungUp = true
            return handle(.workerHungUp)
        }
        switch WorkerReply(message) {
        case .state: try storeChunk(message)
        case .ready(let refused, let resets):
            guard lifecycle.phase == .starting, launch.isClosed else { throw outOfTurn(message.kind) }
            try take(refused)
            launch.resets = resets
            handle(.workerReady)
        case .open:
            guard lifecycle.phase == .starting, !launch.hasOpened else { throw outOfTurn(message.kind) }
            try noteOpen()
        case .response: try relay(response: message)
        case .serving: handle(.workerServing)
        case .stopped: handle(.workerShutDown)
        case .failure(let failure): handle(.failed(failure))
        case .failed(let failure): handle(.tpmFailed(failure))
        case .confined, .none:
            throw outOfTurn(message.kind)
        }
    }

    private func outOfTurn(_ kind: UInt8) -> Failure {
        Failure("cannot keep the vTPM", because: "its worker sent message \(kind) out of turn")
    }

    /// Logs the keys that a TPM which has served before could not be given; its container starts all the same.
    private func take(_ refused: [RefusedKey]) throws(Failure) {
        guard request.keys.admit(refused, isNew: manufactures) else {
            throw Failure("cannot keep the vTPM", because: "its worker leaves out a key that it must not leave out")
        }
        for refusal in refused {
            let handle = String(refusal.key.handle, radix: 16)
            Log.notice("cannot put the key \(refusal.key.name) at 0x\(handle): \(refusal.reason)")
        }
    }

    /// Adds a chunk of the TPM's state, and stores the state once it is whole; only then does the TPM's command go on.
    private func storeChunk(_ chunk: borrowing Message) throws(Failure) {
        defer {
            buffer.wipe()
            worker?.incoming.wipe()
        }
        guard lifecycle.failure == nil else {
            throw Failure("cannot keep the vTPM", because: "its worker stores a state of a TPM that has failed")
        }
        guard let state = try worker?.incoming.take(chunk) else { return }
        do {
            // What a TPM stores while it starts was promised to nobody: it is written once it is ready.
            if lifecycle.phase == .starting {
                unwritten = state
            } else {
                try write(state)
            }
        } catch {
            try? worker?.send(.refused)
            throw error
        }
        try worker?.send(.stored)
    }

    private func handleHookMessage() throws(Failure) {
        guard var message = try hook?.receive(into: buffer) else { return handle(.hookHungUp) }
        switch HookRequest(message) {
        case .device(let number):
            guard let device = message.descriptors.take() else {
                throw Failure("cannot start the vTPM", because: "the hook sent no device")
            }
            deviceNumber = number
            Log.subject.tpm = number
            server = consume device
            handle(.deviceReceived)
        case .reserve:
            if let device = message.descriptors.take() { responder.take(device) }
        case .commit: handle(.commitRequested)
        case .adopt(let container): try adopt(container, &message)
        case .authority: try takeAuthority(&message)
        case .start, .key, .state, .launch, .none:
            throw Failure("cannot start the vTPM", because: "the hook sent message \(message.kind) out of turn")
        }
    }

    private func handleSignal() throws(Failure) {
        var info = signalfd_siginfo()
        let number = signals.number
        try systemCall("read", "cannot read a signal") { read(number, &info, MemoryLayout<signalfd_siginfo>.size) }
        handle(.terminationRequested)
    }
}
