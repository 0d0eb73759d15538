import Platform

/// The life of one vTPM as a value: its phase, and what each event leads to.
///
/// It does nothing itself: the supervisor turns messages and signals into events, and carries out the actions in order.
///
///     starting ─ ready ─ connecting ─ serving ─ committed ─ stopping ─ ended
///         └────────┴──────────┴──────────┴───── abandon ────────────────┘
struct Lifecycle {
    /// Where in its life a vTPM is.
    enum Phase: Equatable {
        /// The worker is starting its TPM up.
        case starting
        /// The hook knows that the TPM is ready, and makes the device.
        case ready
        /// The worker was given the device.
        case connecting
        /// The worker serves the device; the container is not complete yet.
        case serving
        /// The container has its TPM, and the hook is gone.
        case committed(Health)
        /// The container has ended, and the TPM is being shut down.
        case stopping(Shutdown)
        /// Nothing is left to do but to release everything.
        case ended
    }

    /// What answers the commands of a container that lives.
    enum Health: Equatable {
        /// The TPM.
        case healthy
        /// TPM_RC_FAILURE, for this reason.
        case failed(Failure)
    }

    /// How far a TPM's shutdown is.
    enum Shutdown: Equatable {
        /// The worker was told to execute TPM2_Shutdown.
        case requested
        /// It has done so.
        case executed
        /// It was killed, after it had executed TPM2_Shutdown or before.
        case killed(isExecuted: Bool)

        /// Whether TPM2_Shutdown was executed.
        var isExecuted: Bool {
            switch self {
            case .requested: false
            case .executed: true
            case .killed(let isExecuted): isExecuted
            }
        }
    }

    /// What happens to a vTPM.
    enum Event: Equatable {
        /// The worker's TPM has started up.
        case workerReady
        /// The worker reads from the device.
        case workerServing
        /// The worker has executed TPM2_Shutdown.
        case workerShutDown
        /// The worker's TPM is in failure mode, and answers so by itself.
        case tpmFailed(Failure)
        /// The worker has closed its end, so that its exit status follows.
        case workerHungUp
        /// The worker has ended, with a status in words.
        case workerEnded(String)
        /// The hook has sent the device.
        case deviceReceived
        /// The hook says that the container is complete.
        case commitRequested
        /// The hook was told that the supervisor has taken over.
        case commitAcknowledged
        /// The hook has ended.
        case hookHungUp
        /// The container has ended; until it is complete, its init's end counts as such.
        case initEnded
        /// SIGTERM.
        case terminationRequested
        /// The time that was set with ``Action/setTimeout(_:)`` is over.
        case timedOut
        /// Something could not be done, or a peer has broken the protocol.
        case failed(Failure)
    }

    /// What a supervisor has to do.
    enum Action: Equatable {
        /// Write a state that was manufactured, record the start, and tell the hook.
        case announceReady
        /// Hand the device on to the worker.
        case forwardDevice
        /// Tell the hook that the worker serves.
        case announceServing
        /// Make the container's creation final and tell the hook; then comes ``Event/commitAcknowledged``.
        case commit
        /// Release what only a creation needs, and log the start.
        case settle
        /// Have the worker execute TPM2_Shutdown; one that does not listen is killed.
        case requestShutdown
        /// Kill the worker without waiting for its end.
        case killWorker
        /// Log that every command is answered with TPM_RC_FAILURE, and why.
        case logFailure(Failure)
        /// End the worker, and answer every command with TPM_RC_FAILURE.
        case answerFailure
        /// Log that a SIGTERM ends nothing.
        case logTermination
        /// Have the worker keep the TPM shut down in order while it is used on.
        case expectEnd
        /// Log how the TPM stopped; the status is that of its worker.
        case logStop(isShutDown: Bool, status: String)
        /// Undo what was done for a container whose creation has failed, and fail with this error.
        case abandon(Failure)
        /// Send ``Event/timedOut`` after this many milliseconds, in place of any that was set before.
        case setTimeout(Int)
        /// Send none.
        case clearTimeout
    }

    /// How long a TPM may take to shut down, in milliseconds: it may be in the midst of making a key.
    static let shutdownTimeout = 10_000
    /// How long a worker may take to be gone after SIGKILL, in milliseconds.
    static let killTimeout = 5000

    /// The phase of the vTPM.
    private(set) var phase = Phase.starting
    /// Whether the worker was told that the end may come without notice.
    private var expectsEnd = false

    /// Whether the container is known to have ended.
    var isStopping: Bool {
        switch phase {
        case .stopping, .ended: true
        case .starting, .ready, .connecting, .serving, .committed: false
        }
    }

    /// Why every command is answered with TPM_RC_FAILURE; nil if it is not.
    var failure: Failure? {
        guard case .committed(.failed(let reason)) = phase else { return nil }
        return reason
    }

    /// Handles an event; returns the actions to carry out, in this order.
    mutating func handle(_ event: Event) -> [Action] {
        switch phase {
        case .starting, .ready, .connecting, .serving: return create(event)
        case .committed(let health): return live(event, health)
        case .stopping(let shutdown): return stop(event, shutdown)
        case .ended: return []
        }
    }

    // MARK: - Creation

    /// Any failure undoes the creation.
    private mutating func create(_ event: Event) -> [Action] {
        switch (event, phase) {
        case (.workerReady, .starting):
            phase = .ready
            return [.announceReady]
        case (.deviceReceived, .ready):
            phase = .connecting
            return [.forwardDevice]
        case (.workerServing, .connecting):
            phase = .serving
            return [.announceServing]
        case (.commitRequested, .serving):
            return [.commit]
        case (.commitAcknowledged, .serving):
            phase = .committed(.healthy)
            return [.settle]
        case (.workerHungUp, _):
            return [.killWorker]
        default:
            phase = .ended
            return [.abandon(Self.creationFailure(event))]
        }
    }

    private static func creationFailure(_ event: Event) -> Failure {
        switch event {
        case .failed(let failure), .tpmFailed(let failure): failure
        case .workerEnded(let status): Failure("cannot start the TPM", because: "its worker ended with \(status)")
        case .hookHungUp:
            Failure("cannot start the vTPM", because: "the hook ended before the container was complete")
        case .initEnded: Failure("cannot start the vTPM", because: "the container's init ended")
        case .terminationRequested: Failure("cannot start the vTPM", because: "SIGTERM came")
        default: outOfTurn(event)
        }
    }

    private static func outOfTurn(_ event: Event) -> Failure {
        let what =
            switch event {
            case .workerReady: "its worker sent \"ready\""
            case .workerServing: "its worker sent \"serving\""
            case .workerShutDown: "its worker sent \"stopped\""
            case .deviceReceived: "the hook sent \"device\""
            case .commitRequested: "the hook sent \"commit\""
            default: "\(event) came"
            }
        return Failure("cannot keep the vTPM", because: "\(what) out of turn")
    }

    // MARK: - Use

    /// A container that is complete may use its TPM for as long as it lives, and so the device's number.
    ///
    /// A new worker would be a TPM with other PCRs, which is what measured boot is meant to notice: so none is started.
    /// A SIGTERM ends nothing: at a shutdown of the host all processes may get it at once, and the container still uses
    /// its TPM while it stops. But a SIGKILL may follow for container, supervisor and worker at once.
    private mutating func live(_ event: Event, _ health: Health) -> [Action] {
        switch (event, health) {
        case (.terminationRequested, .failed):
            return [.logTermination]
        case (.terminationRequested, .healthy):
            // One message is enough, and a worker in the midst of a command would not read many.
            defer { expectsEnd = true }
            return expectsEnd ? [.logTermination] : [.logTermination, .expectEnd]
        case (.initEnded, .failed):
            phase = .ended
            return [.clearTimeout]
        case (.workerHungUp, .failed), (.failed, .failed):
            return [.killWorker]
        case (.workerEnded, .failed):
            return [.answerFailure]
        case (_, .failed):
            return []
        case (.tpmFailed(let reason), .healthy):
            phase = .committed(.failed(reason))
            return [.logFailure(reason)]
        case (.initEnded, .healthy):
            phase = .stopping(.requested)
            return [.requestShutdown, .setTimeout(Self.shutdownTimeout)]
        case (.workerHungUp, .healthy):
            return [.killWorker]
        default:
            return fail(event)
        }
    }

    private mutating func fail(_ event: Event) -> [Action] {
        let reason: Failure
        switch event {
        case .failed(let failure), .tpmFailed(let failure): reason = failure
        case .workerEnded(let status):
            reason = Failure("cannot keep the vTPM", because: "its worker ended with \(status)")
        case .timedOut: reason = Failure("cannot shut the TPM down", because: "its worker did not die of SIGKILL")
        default: reason = Self.outOfTurn(event)
        }
        phase = .committed(.failed(reason))
        return [.clearTimeout, .answerFailure, .logFailure(reason)]
    }

    // MARK: - The end

    private mutating func stop(_ event: Event, _ shutdown: Shutdown) -> [Action] {
        switch event {
        case .workerEnded(let status):
            phase = .ended
            return [.clearTimeout, .logStop(isShutDown: shutdown.isExecuted, status: status)]
        case .workerHungUp, .terminationRequested, .initEnded:
            return []
        default:
            return goOn(event, shutdown)
        }
    }

    private mutating func goOn(_ event: Event, _ shutdown: Shutdown) -> [Action] {
        switch (event, shutdown) {
        case (.workerShutDown, .requested):
            phase = .stopping(.executed)
            return []
        case (.workerShutDown, .killed(isExecuted: false)):
            // It came before the signal did.
            phase = .stopping(.killed(isExecuted: true))
            return []
        case (.timedOut, .requested), (.timedOut, .executed):
            phase = .stopping(.killed(isExecuted: shutdown.isExecuted))
            return [.killWorker, .setTimeout(Self.killTimeout)]
        default:
            let actions = fail(event)
            phase = .ended
            return actions
        }
    }
}
