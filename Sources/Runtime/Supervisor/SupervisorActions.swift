import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState

// What a supervisor does for its vTPM's life.
extension Supervisor {
    /// Carries out an action; returns the event that it leads to by itself.
    func perform(_ action: Lifecycle.Action) throws(Failure) -> Lifecycle.Event? {
        switch action {
        case .announceReady: try announceReady()
        case .forwardDevice: try forwardDevice()
        case .announceServing: try hook?.send(HookReply.serving)
        case .commit:
            // Before the container's first command.
            try worker?.send(.registered(selfTestAfter: Self.selfTestPause))
            // Before the hook can end with success: what the container has used is never undone.
            try lease?.remove(LeaseFiles.madeState)
            try nameAdopter()
            try hook?.send(HookReply.committed)
            return .commitAcknowledged
        case .settle: settle()
        case .requestShutdown: requestShutdown()
        case .killWorker: worker?.kill()
        case .logFailure(let reason): logFailure(reason)
        case .answerFailure: answerFailure()
        case .logTermination: Log.notice("\(name) goes on after SIGTERM: its container lives", .kept)
        case .expectEnd: expectEnd()
        case .logStop(true, _):
            Log.notice("\(name) stopped, generation \(store.generation)", .stopped, details())
        case .logStop(false, let status):
            let text = "\(name) stopped without TPM2_Shutdown: its worker ended with \(status)"
            Log.error(text, .stopped, details(reason: .process))
        case .abandon(let reason): abandon(reason)
        case .setTimeout(let milliseconds): deadline = Deadline(milliseconds: milliseconds)
        case .clearTimeout: deadline = nil
        }
        return nil
    }

    private func announceReady() throws(Failure) {
        guard unwritten != nil || !manufactures else {
            throw Failure("cannot manufacture the TPM", because: "its worker stored no state")
        }
        if let state = unwritten.take() { try write(state) }
        guard let worker, let library = worker.libraryVersion else { return }
        try store.recordUse(library: "\(library)")
        switch lease {
        case .none: break
        case .some(let lease):
            try hook?.send(HookReply.ready(started(library)), descriptors: [lease.directory.number])
        }
    }

    /// What the hook puts into the lease, and into the manifest of a launch that is measured.
    private func started(_ library: LibraryVersion) throws(Failure) -> StartedTPM {
        var started = StartedTPM(library: library, resets: launch.resets, generation: launch.generation)
        started.instance = launch.instance
        let isEphemeral = if case .ephemeral = request.storage { true } else { false }
        if isEphemeral || request.isMeasured { started.endorsement = store.endorsement }
        if request.isMeasured, let (identity, value) = try store.counter() {
            started.counter = StartedTPM.CounterReading(identity: identity, value: value)
        }
        return started
    }

    private func forwardDevice() throws(Failure) {
        switch server {
        case .none: break
        case .some(let server): try worker?.send(.serve, descriptors: [server.number])
        }
    }

    private func settle() {
        uncommitted = nil
        hook = nil
        Log.notice("\(name) is tpm\(deviceNumber), \(stateName), generation \(store.generation)", .started)
        startupPagesEnd = Deadline(milliseconds: 100)
    }

    /// Asks the worker to shut the TPM down.
    ///
    /// Without a shutdown the next startup raises the dictionary-attack counter (Part 1, 19.8.6).
    private func requestShutdown() {
        do throws(Failure) {
            try worker?.send(.shutdown)
        } catch {
            worker?.kill()
        }
    }

    /// A precaution: if it fails, the TPM serves on.
    private func expectEnd() {
        do throws(Failure) {
            try worker?.send(.expectEnd)
        } catch {
            Log.error("\(name) counts a failed authorization if it is killed now: \(error)")
        }
    }

    private func answerFailure() {
        endWorker()
        if let server = server.take() { responder.take(server) }
    }

    private func logFailure(_ reason: Failure) {
        let text = "\(name) failed and answers TPM_RC_FAILURE until the container stops: \(reason)"
        Log.error(text, .failed, details(reason: reason.kind))
    }

    /// What the last line of a vTPM is told with: after a failure nothing is written any more.
    private func details(reason: FailureKind? = nil) -> LogDetails {
        LogDetails(reason: reason, writes: writeTimes.count == 0 ? nil : writeTimes)
    }

    private func abandon(_ reason: Failure) {
        abandonment = reason
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
}
