import CLinux
import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeFilter
import Testing
import VTPMProxy

/// A real worker; the test is its supervisor, and a socket stands in for the vTPM proxy's descriptor.
final class WorkerUnderTest {
    let channel: Channel
    let worker: RunningProgram
    private let buffer = Channel.makeBuffer()
    private(set) var device: CInt = -1
    /// The state that the worker has had stored last; nil if it has stored none.
    private(set) var state: [UInt8]?
    /// How many states it has had stored.
    private(set) var stateCount = 0
    private var chunks: [UInt8] = []
    /// Whether the test has commands of the host's for it.
    private var isEndorsed = false
    /// The body of its last message.
    private(set) var body: [UInt8] = []
    /// The keys that are not at their handles, as it says when it is ready.
    private(set) var refused: [RefusedKey] = []

    /// Starts a worker and has it confine itself, with its own filter or another one.
    init(_ program: String = "vtpm-worker", _ arguments: [String] = [], underFilter filter: [UInt8]?) throws {
        let pair = try Channel.pair(near: "supervisor", far: "worker")
        var launch = ProgramLaunch(VTPMUnderTest.program(program), [program] + arguments)
        launch.passed = [pair.far.descriptor.number]
        worker = RunningProgram(try WorkerNamespace.start(launch))
        channel = pair.near
        let itself = try ProcessHandle(getpid())
        let user = try WorkerUser(of: worker.process).number
        let network = try WorkerNamespace.makeNetwork()
        try channel.send(
            WorkerRequest.confine(user: user, filter: filter ?? SystemCallFilter.worker.compiled().bytes),
            descriptors: [network.number, itself.descriptor.number]
        )
    }

    /// Starts a worker with a TPM; without a state it manufactures one.
    convenience init(
        _ program: String = "vtpm-worker",
        _ arguments: [String] = [],
        state: [UInt8]? = nil,
        keys: StandardKeys = [],
        banks: PCRBanks = .all,
        isEndorsed: Bool = false
    ) throws {
        try self.init(program, arguments, underFilter: nil)
        try #require(try hear() == .confined)
        let provision = TPMProvision(keys: keys, banks: banks)
        self.isEndorsed = isEndorsed
        try channel.send(WorkerRequest.initialize(hasState: state != nil, provision))
        try state?.withUnsafeBytes { try channel.sendChunks(WorkerRequest.state, of: $0) }
    }

    deinit {
        if device >= 0 { close(device) }
    }

    /// Its next message: the kind, and the text of a failure.
    ///
    /// A part of a state is kept, and not acknowledged.
    func receive() throws -> (kind: WorkerReply.Kind?, failure: String) {
        try #require(try wait(for: channel.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
        let received = try channel.receive(into: buffer)
        switch consume received {
        case .none: return (nil, "")
        case .some(let message):
            let kind = WorkerReply.Kind(rawValue: message.kind)
            body = message.body
            if case .ready(let refused, _)? = WorkerReply(message) { self.refused = refused }
            if kind == .state {
                chunks += message.body
                if message.count < Channel.chunkSize {
                    (state, chunks) = (chunks, [])
                    stateCount += 1
                }
            }
            return (kind, kind == .failed || kind == .failure ? "\(message.failure)" : "")
        }
    }

    /// Whether no part of a state is still to come.
    var hasSaidAll: Bool { chunks.isEmpty }

    /// Its next message that is no part of a state, each of which is acknowledged.
    func hear(acknowledging answer: WorkerRequest = .stored) throws -> WorkerReply.Kind? {
        while true {
            let kind = try receive().kind
            if kind == .open, !isEndorsed {
                try channel.send(WorkerRequest.close(instance: []))
                continue
            }
            guard kind == .state else { return kind }
            if chunks.isEmpty { try channel.send(answer) }
        }
    }

    /// Has it serve a socket.
    func serve() throws {
        try #require(try hear() == .ready)
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
        try channel.send(WorkerRequest.serve, descriptors: [ends[0]])
        close(ends[0])
        device = ends[1]
        try #require(try hear() == .serving)
    }

    func ask(_ command: [UInt8]) throws {
        try #require(send(device, command, command.count, 0) == command.count)
    }

    func answer() -> [UInt8] {
        var answer = [UInt8](repeating: 0, count: 4096)
        let count = recv(device, &answer, answer.count, 0)
        return Array(answer.prefix(max(count, 0)))
    }

    /// One command, one answer; what it stores is acknowledged.
    func transmit(_ command: [UInt8]) throws -> [UInt8] {
        try ask(command)
        while true {
            var set = PollSet()
            let answered = set.add(device)
            let said = set.add(channel.descriptor.number)
            try #require(try set.wait(until: Deadline(milliseconds: 60_000)))
            if set.isReady(answered) { return answer() }
            try #require(set.isReady(said))
            try #require(try receive().kind == .state)
            if chunks.isEmpty { try channel.send(WorkerRequest.stored) }
        }
    }

    /// Whether it has sent a message that nobody has heard.
    func hasSaidMore() throws -> Bool {
        try wait(for: channel.descriptor.number, until: Deadline(milliseconds: 0)) != 0
    }

    /// Closes the device; returns its exit status.
    func end() throws -> WaitStatus {
        close(device)
        device = -1
        return try worker.wait()
    }
}
