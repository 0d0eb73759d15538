import Platform
import Testing

@testable import RuntimeSupervisor

/// What each event leads to in each phase of a vTPM's life, as a table.
@Suite struct LifecycleTests {
    static let broken = Failure("cannot store the state", because: "the disk is full")
    static let toCommit: [Lifecycle.Event] = [
        .workerReady, .deviceReceived, .workerServing, .commitRequested, .commitAcknowledged,
    ]

    /// A vTPM that has seen these events.
    static func lifecycle(after events: [Lifecycle.Event]) -> Lifecycle {
        var lifecycle = Lifecycle()
        for event in events { _ = lifecycle.handle(event) }
        return lifecycle
    }

    /// An event, what it leads to, and the phase after it.
    struct Step: CustomTestStringConvertible {
        var before: [Lifecycle.Event]
        var event: Lifecycle.Event
        var actions: [Lifecycle.Action]
        var phase: Lifecycle.Phase

        var testDescription: String { "\(before.map { "\($0)" }.joined(separator: ", ")) then \(event)" }
    }

    @Test func aCreationGoesThroughItsPhases() {
        var lifecycle = Lifecycle()
        #expect(lifecycle.handle(.workerReady) == [.announceReady] && lifecycle.phase == .ready)
        #expect(lifecycle.handle(.deviceReceived) == [.forwardDevice] && lifecycle.phase == .connecting)
        #expect(lifecycle.handle(.workerServing) == [.announceServing] && lifecycle.phase == .serving)
        // Nothing is final before the hook knows of it.
        #expect(lifecycle.handle(.commitRequested) == [.commit] && lifecycle.phase == .serving)
        #expect(lifecycle.handle(.commitAcknowledged) == [.settle] && lifecycle.phase == .committed(.healthy))
        #expect(!lifecycle.isStopping && lifecycle.failure == nil)
    }

    /// Before the container is complete, whatever goes wrong undoes everything, with its reason.
    @Test(arguments: 0..<toCommit.count) func aCreationThatFailsIsUndone(step: Int) {
        let before = Array(Self.toCommit[..<step])
        let reasons: [(Lifecycle.Event, String)] = [
            (.failed(Self.broken), "cannot store the state: the disk is full"),
            (.tpmFailed(Self.broken), "cannot store the state: the disk is full"),
            (.workerEnded("signal 9"), "cannot start the TPM: its worker ended with signal 9"),
            (.hookHungUp, "the hook ended before the container was complete"),
            (.initEnded, "the container's init ended"),
            (.terminationRequested, "SIGTERM came"),
            (.workerShutDown, "its worker sent \"stopped\" out of turn"),
        ]
        for (event, reason) in reasons {
            var lifecycle = Self.lifecycle(after: before)
            let actions = lifecycle.handle(event)
            guard case .abandon(let failure)? = actions.first, actions.count == 1 else {
                Issue.record("\(event) after \(before): \(actions)")
                continue
            }
            #expect(failure.description.hasSuffix(reason), "\(failure)")
            #expect(lifecycle.phase == .ended)
            #expect(lifecycle.handle(event) == [], "nothing happens after the end")
        }
    }

    /// No message of a peer does anything before its time, or twice.
    @Test func messagesOutOfTurnAreRefused() {
        let messages: [(Lifecycle.Event, at: Int, says: String)] = [
            (.workerReady, 0, "its worker sent \"ready\" out of turn"),
            (.deviceReceived, 1, "the hook sent \"device\" out of turn"),
            (.workerServing, 2, "its worker sent \"serving\" out of turn"),
            (.commitRequested, 3, "the hook sent \"commit\" out of turn"),
        ]
        for step in 0..<Self.toCommit.count - 1 {
            for (event, turn, says) in messages where step != turn {
                var lifecycle = Self.lifecycle(after: Array(Self.toCommit[..<step]))
                let refusal = Failure("cannot keep the vTPM", because: says)
                #expect(lifecycle.handle(event) == [.abandon(refusal)], "\(event) at step \(step)")
            }
        }
    }

    static let shutdown: [Lifecycle.Action] = [.requestShutdown, .setTimeout(Lifecycle.shutdownTimeout)]
    static let kill: [Lifecycle.Action] = [.killWorker, .setTimeout(Lifecycle.killTimeout)]
    static func keep(_ why: String) -> Failure { Failure("cannot keep the vTPM", because: why) }
    static let immortal = Failure("cannot shut the TPM down", because: "its worker did not die of SIGKILL")
    static let killed = keep("its worker ended with signal 9")

    /// A row of the table: what a container that has its TPM has seen, what comes, what is done, and the phase then.
    static func row(
        _ before: [Lifecycle.Event],
        _ event: Lifecycle.Event,
        _ actions: [Lifecycle.Action],
        _ phase: Lifecycle.Phase
    ) -> Step {
        Step(before: toCommit + before, event: event, actions: actions, phase: phase)
    }

    static func failing(_ reason: Failure) -> [Lifecycle.Action] {
        [.clearTimeout, .answerFailure, .logFailure(reason)]
    }
    static func stopping(_ isShutDown: Bool, _ status: String) -> [Lifecycle.Action] {
        [.clearTimeout, .logStop(isShutDown: isShutDown, status: status)]
    }
    static let twice = keep("its worker sent \"stopped\" out of turn")
    static let early = keep("its worker sent \"ready\" out of turn")

    static let theContainerStops: [Step] = [
        row([], .initEnded, shutdown, .stopping(.requested)),
        row([.initEnded], .workerShutDown, [], .stopping(.executed)),
        row([.initEnded, .workerShutDown], .workerEnded("exit status 0"), stopping(true, "exit status 0"), .ended),
        row([.initEnded], .workerEnded("exit status 1"), stopping(false, "exit status 1"), .ended),
        row([.initEnded], .workerHungUp, [], .stopping(.requested)),
        row([.initEnded], .terminationRequested, [], .stopping(.requested)),
        row([.initEnded], .failed(broken), failing(broken), .ended),
        row([.initEnded, .workerShutDown], .workerShutDown, failing(twice), .ended),
    ]

    static let theWorkerDoesNotStop: [Step] = [
        row([.initEnded], .timedOut, kill, .stopping(.killed(isExecuted: false))),
        row([.initEnded, .workerShutDown], .timedOut, kill, .stopping(.killed(isExecuted: true))),
        row([.initEnded, .timedOut], .workerEnded("signal 9"), stopping(false, "signal 9"), .ended),
        row([.initEnded, .timedOut], .timedOut, failing(immortal), .ended),
        row([.initEnded, .timedOut], .workerShutDown, [], .stopping(.killed(isExecuted: true))),
    ]

    /// The device's number stays taken until the init is dead.
    static let theTPMFails: [Step] = [
        row([], .workerHungUp, [.killWorker], .committed(.healthy)),
        row([], .workerEnded("signal 9"), failing(killed), .committed(.failed(killed))),
        row([], .failed(broken), failing(broken), .committed(.failed(broken))),
        row([], .workerReady, failing(early), .committed(.failed(early))),
        row([.failed(broken)], .failed(killed), [.killWorker], .committed(.failed(broken))),
        row([.failed(broken)], .tpmFailed(killed), [], .committed(.failed(broken))),
        row([.failed(broken)], .terminationRequested, [.logTermination], .committed(.failed(broken))),
        row([.failed(broken)], .initEnded, [.clearTimeout], .ended),
    ]

    /// A TPM in failure mode answers by itself for as long as its worker lives.
    static let theTPMSaysThatItFails: [Step] = [
        row([], .tpmFailed(broken), [.logFailure(broken)], .committed(.failed(broken))),
        row([.tpmFailed(broken)], .tpmFailed(killed), [], .committed(.failed(broken))),
        row([.tpmFailed(broken)], .workerHungUp, [.killWorker], .committed(.failed(broken))),
        row([.tpmFailed(broken)], .workerEnded("signal 9"), [.answerFailure], .committed(.failed(broken))),
        row([.tpmFailed(broken)], .failed(killed), [.killWorker], .committed(.failed(broken))),
        row([.tpmFailed(broken)], .terminationRequested, [.logTermination], .committed(.failed(broken))),
        row([.tpmFailed(broken)], .initEnded, [.clearTimeout], .ended),
        row([.initEnded], .tpmFailed(broken), failing(broken), .ended),
    ]

    /// SIGTERM ends nothing while the init lives, however often it comes, and the worker hears of it once.
    static let theSupervisorIsTerminated: [Step] = [
        row([], .terminationRequested, [.logTermination, .expectEnd], .committed(.healthy)),
        row([.terminationRequested], .terminationRequested, [.logTermination], .committed(.healthy)),
        row([.terminationRequested], .initEnded, shutdown, .stopping(.requested)),
        row([.terminationRequested], .failed(broken), failing(broken), .committed(.failed(broken))),
    ]

    @Test(
        arguments: theContainerStops + theWorkerDoesNotStop + theTPMFails + theTPMSaysThatItFails
            + theSupervisorIsTerminated
    )
    func eachEventHasItsEffect(step: Step) {
        var lifecycle = Self.lifecycle(after: step.before)
        #expect(lifecycle.handle(step.event) == step.actions)
        #expect(lifecycle.phase == step.phase)
    }

    /// Whatever comes in whatever order, a life ends soon after its init: no wait is without end.
    @Test func everyLifeEnds() {
        let events: [Lifecycle.Event] =
            Self.toCommit + [
                .workerShutDown, .workerHungUp, .workerEnded("signal 9"), .hookHungUp, .initEnded,
                .terminationRequested, .timedOut, .failed(Self.broken), .tpmFailed(Self.broken),
            ]
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let before = (0..<Int.random(in: 0...20, using: &generator)).map { _ in
                events[Int.random(in: 0..<events.count, using: &generator)]
            }
            var lifecycle = Self.lifecycle(after: before)
            // Its worker says nothing any more: the timeouts alone have to do it.
            var isTimed = lifecycle.handle(.initEnded).contains(.setTimeout(Lifecycle.shutdownTimeout))
            isTimed = isTimed || lifecycle.isStopping
            for _ in 0..<3 where lifecycle.phase != .ended {
                #expect(isTimed, "\(before)")
                _ = lifecycle.handle(.timedOut)
            }
            #expect(lifecycle.phase == .ended, "\(before)")
        }
    }
}
