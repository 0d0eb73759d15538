import Glibc
import Platform
import RuntimeControl
import RuntimeSupervisor

/// Starts a TPM and shuts it down again, in a worker of its own.
///
/// A state that comes from elsewhere may be malicious, so only the worker parses it, which is confined for that.
public struct TrialStart {
    /// The path of the worker's program.
    public let worker: String

    /// How long the worker may take for the whole trial, in milliseconds.
    private static let timeout = 60_000

    /// Creates a trial with the worker of this path.
    public init(worker: String) {
        self.worker = worker
    }

    /// Runs the trial; returns the state that the TPM stored last, or throws a ``Failure`` if no TPM starts from it.
    public func run(_ state: SecretBytes) throws(Failure) -> SecretBytes {
        do {
            return try start(state).stored
        } catch {
            throw Failure("cannot use the state that is to be imported", because: "no TPM starts from it: \(error)")
        }
    }

    /// Manufactures a TPM and throws it away; returns the version of the library that did it.
    public func manufacture() throws(Failure) -> LibraryVersion? { try start(nil).library }

    private func start(_ state: SecretBytes?) throws(Failure) -> (stored: SecretBytes, library: LibraryVersion?) {
        let itself = try ProcessHandle(getpid())
        let link = try WorkerLink.start(program: worker)
        defer { link.close() }
        try link.confine(for: ContainerWatch(initProcess: itself.descriptor.duplicate(), cgroupEvents: nil))
        try link.initialize(state)
        return (try converse(link), link.libraryVersion)
    }

    private func converse(_ link: WorkerLink) throws(Failure) -> SecretBytes {
        let what = "cannot start the TPM"
        let buffer = try Channel.makeSecretBuffer()
        var incoming = IncomingState()
        var stored: SecretBytes?
        let deadline = Deadline(milliseconds: Self.timeout)
        while true {
            guard !deadline.hasPassed, try wait(for: link.channel.descriptor.number, until: deadline) != 0
            else {
                throw Failure(what, because: "its worker does not answer")
            }
            guard let message = try link.channel.receive(into: buffer) else {
                throw Failure(what, because: "its worker ended")
            }
            switch WorkerReply(message) {
            case .state:
                if let state = try incoming.take(message) {
                    stored = state
                    try link.send(.stored)
                }
            case .ready: try link.send(.shutdown)
            case .stopped:
                buffer.wipe()
                guard let stored, stored.count > 0 else { throw Failure(what, because: "its worker stored nothing") }
                return stored
            case .failure(let failure): throw failure
            default: throw Failure(what, because: "its worker sent message \(message.kind) out of turn")
            }
        }
    }
}
