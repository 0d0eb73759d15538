import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeState

extension Supervisor {
    /// Waits for events and acts on them until everything is over.
    func live() throws(Failure) {
        while !isFinished {
            do {
                try turn()
            } catch {
                // A container that is complete may use its TPM for as long as its init lives, and so its number.
                guard phase == .committed || phase == .stopping else {
                    abandon()
                    throw error
                }
                fail(error)
                // Not as fast as it goes, where even poll(2) fails.
                poll(nil, 0, 100)
            }
        }
        recordStop()
    }

    /// Has the host remember the last generation, so that no older one is taken at the next start.
    private func recordStop() {
        do throws(Failure) {
            try store.recordUse(library: nil)
        } catch {
            Log.error("\(name): \(error)")
        }
    }

    private func turn() throws(Failure) {
        var set = PollSet()
        let signalIndex = set.add(signals.number)
        // Once the init is dead its pidfd stays readable.
        let initIndex = phase == .stopping ? nil : set.add(initProcess.descriptor.number)
        let hookIndex = hook.map { set.add($0.descriptor.number) }
        let workerIndex = worker.flatMap { $0.isSilent ? nil : set.add($0.channel.descriptor.number) }
        let exitIndex = worker.map { set.add($0.exit) }
        let listenerIndex = set.add(listener)
        let clientIndices = clients.map { set.add($0.descriptor.number) }
        let watched = responder.watch(in: &set)
        try set.wait(until: [shutdownDeadline, terminationDeadline, deathDeadline].compactMap(\.self).min())

        if let workerIndex, set.isReady(workerIndex) { try hearWorker() }
        // A worker that has ended may have left messages, which are heard first.
        if let exitIndex, set.isReady(exitIndex), workerIndex.map({ !set.isReady($0) }) ?? true {
            try workerEnded()
        }
        if let hookIndex, set.isReady(hookIndex) { try hearHook() }
        if let initIndex, set.isReady(initIndex) { try initEnded() }
        if set.isReady(signalIndex) { try hearSignal() }
        hearClients(clientIndices, in: set)
        if set.isReady(listenerIndex) { acceptClient() }
        responder.respond(watched, in: set)
        checkDeadlines()
    }

    // MARK: - The worker

    private func hearWorker() throws(Failure) {
        guard let message = try worker?.channel.receive(into: buffer) else {
            // It has said all: its end follows, and is told with its exit status.
            worker?.isSilent = true
            if phase != .stopping { worker?.kill() }
            return
        }
        switch (message.kind, phase) {
        case (WorkerMessage.store, _): try storeChunk(message)
        case (WorkerMessage.ready, .starting): try becomeReady()
        case (WorkerMessage.serving, .ready):
            phase = .serving
            try hook?.send(HookMessage.serving)
        case (WorkerMessage.failure, _):
            throw message.failure
        case (WorkerMessage.stopped, _) where mustShutDown: isShutDown = true
        default:
            throw Failure("cannot keep the vTPM", because: "its worker sent message \(message.kind) out of turn")
        }
    }

    /// Takes a part of the TPM's state in, and stores it once it is whole; only then does the TPM's command go on.
    private func storeChunk(_ chunk: borrowing Message) throws(Failure) {
        defer { buffer.wipe() }
        guard let state = try worker?.incoming.take(chunk) else { return }
        do {
            // What a manufacture stores on its way was promised to nobody: it is written once it is complete.
            if manufactures && phase == .starting {
                manufactured = state
            } else {
                try store.write(.init(permanent: state, isComplete: true))
            }
        } catch {
            try? worker?.tell(WorkerMessage.refused)
            throw error
        }
        try worker?.tell(WorkerMessage.stored)
    }

    private func becomeReady() throws(Failure) {
        if manufactures {
            guard let state = manufactured else {
                throw Failure("cannot manufacture the TPM", because: "its worker stored no state")
            }
            try store.write(.init(permanent: state, isComplete: true))
            manufactured = nil
        }
        try store.recordUse(library: worker?.libraryVersion.map { "\($0)" })
        phase = .ready
        var body = ByteWriter()
        body.write(UInt32(bitPattern: worker?.process ?? 0))
        body.write(worker?.libraryVersion?.number ?? 0)
        switch lease {
        case .none: break
        case .some(let lease): try hook?.send(HookMessage.ready, body, descriptors: [lease.directory.number])
        }
    }

    private func workerEnded() throws(Failure) {
        guard let ended = worker.take() else { return }
        guard let status = try ended.end() else { return }
        switch phase {
        case .stopping:
            finish(status)
        case .committed:
            fail(Failure("cannot keep the vTPM", because: "its worker ended with \(status)"))
        case .starting, .ready, .serving:
            throw Failure("cannot start the TPM", because: "its worker ended with \(status)")
        }
    }

    /// From now on every command gets TPM_RC_FAILURE, until the container is gone.
    ///
    /// A new worker would be a TPM with other PCRs, which is what measured boot is meant to notice.
    func fail(_ reason: Failure) {
        endWorker()
        if let server = server.take() { responder.adopt(server) }
        if failure == nil {
            failure = reason
            Log.error("\(name) failed and answers TPM_RC_FAILURE until the container stops: \(reason)")
        }
        if phase == .stopping { isFinished = true }
    }

    // MARK: - The hook

    private func hearHook() throws(Failure) {
        guard var message = try hook?.receive(into: buffer) else {
            throw Failure("cannot start the vTPM", because: "the hook ended before the container was complete")
        }
        switch (message.kind, phase) {
        case (HookMessage.device, .ready):
            guard let device = message.descriptors.take(), message.count == 4 else {
                throw Failure("cannot start the vTPM", because: "the hook sent no device")
            }
            deviceNumber = message.body.reduce(0) { $0 << 8 | UInt32($1) }
            try worker?.tell(WorkerMessage.serve, descriptors: [device.number])
            server = consume device
        case (HookMessage.occupy, _):
            if let device = message.descriptors.take() { responder.adopt(device) }
        case (HookMessage.commit, .serving):
            // Before the hook can end well: what the container has used is never undone.
            try lease?.remove(LeaseFiles.madeState)
            try hook?.send(HookMessage.committed)
            phase = .committed
            uncommitted = nil
            hook = nil
            Log.notice("\(name) is tpm\(deviceNumber), \(stateName), generation \(store.generation)")
            Hardening.releaseStartupPages()
        default:
            throw Failure("cannot start the vTPM", because: "the hook sent message \(message.kind) out of turn")
        }
    }

    /// Undoes what was done for a container that does not come to be.
    private func abandon() {
        endWorker()
        server = nil
        uncommitted?.discard()
        uncommitted = nil
    }

    private func endWorker() {
        guard let worker = worker.take() else { return }
        do throws(Failure) {
            _ = try worker.end()
        } catch {
            Log.error("\(name): \(error)")
        }
    }

    // MARK: - The end

    private func initEnded() throws(Failure) {
        guard phase == .committed else {
            throw Failure("cannot start the vTPM", because: "the container's init ended")
        }
        phase = .stopping
        terminationDeadline = nil
        beginShutdown()
    }

    /// Has the TPM shut down; without it, the next startup raises the dictionary-attack counter (Part 1, 19.8.6).
    private func beginShutdown() {
        shutdownDeadline = Deadline(milliseconds: Self.shutdownPatience)
        mustShutDown = true
        do throws(Failure) {
            try worker?.tell(WorkerMessage.shutdown)
        } catch {
            worker?.kill()
        }
        if worker == nil { isFinished = true }
    }

    private func finish(_ status: WaitStatus) {
        if isShutDown {
            Log.notice("\(name) stopped, generation \(store.generation)")
        } else {
            Log.error("\(name) stopped without TPM2_Shutdown: its worker ended with \(status)")
        }
        isFinished = true
    }

    private func hearSignal() throws(Failure) {
        var info = signalfd_siginfo()
        let number = signals.number
        try systemCall("read", "cannot read a signal") { read(number, &info, MemoryLayout<signalfd_siginfo>.size) }
        guard phase == .committed else {
            if phase == .stopping { return }
            throw Failure("cannot start the vTPM", because: "SIGTERM came")
        }
        if terminationDeadline == nil { terminationDeadline = Deadline(milliseconds: Self.terminationPatience) }
    }

    private func checkDeadlines() {
        if let shutdownDeadline, shutdownDeadline.hasPassed {
            worker?.kill()
            self.shutdownDeadline = nil
            deathDeadline = Deadline(milliseconds: Self.deathPatience)
        }
        if let deathDeadline, deathDeadline.hasPassed {
            self.deathDeadline = nil
            if worker != nil {
                fail(Failure("cannot shut the TPM down", because: "its worker did not die of SIGKILL"))
            }
        }
        if let terminationDeadline, terminationDeadline.hasPassed {
            // Shut down in order, so that the next start counts no failed authorization; the number stays taken.
            self.terminationDeadline = nil
            if worker != nil {
                mustShutDown = true
                try? worker?.tell(WorkerMessage.shutdown)
                shutdownDeadline = Deadline(milliseconds: Self.shutdownPatience)
            }
        }
    }
}
