import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl

/// The supervisor's side of its worker: the process, the channel, and the state that arrives in chunks.
package final class WorkerLink {
    /// The channel to it.
    package let channel: Channel
    /// The worker's process ID.
    let process: pid_t
    /// Whether it has closed its end: there is nothing to hear any more.
    var hasHungUp = false
    /// The process, until it is reaped.
    private var child: ChildProcess?
    private let user: WorkerUser
    /// The version of its libtpms, which it has told with the word that it is confined: it is the worker's program, and no
    /// longer on its way to it.
    package private(set) var libraryVersion: LibraryVersion?
    /// What has come of a state; there is none most of the time.
    var incoming = IncomingState()

    /// How long the worker may leave a message unread before it counts as stuck, in milliseconds.
    private static let timeout = 5000
    /// How long it may take to give up its privileges, in milliseconds.
    private static let confinementTimeout = 15_000

    private init(_ channel: Channel, _ child: consuming ChildProcess, _ user: WorkerUser) {
        self.channel = channel
        self.process = child.process
        self.child = consume child
        self.user = user
    }

    /// Ends the worker, unless that was done already.
    package func close() {
        guard child != nil else { return }
        if libraryVersion == nil { endBeforeConfinement() }
        _ = try? end()
    }

    /// Starts the worker, which loads its libraries while the caller goes on.
    package static func start(program: String) throws(Failure) -> WorkerLink {
        let pair = try Channel.pair(near: "supervisor", far: "worker")
        var launch = ProgramLaunch(program, ["vtpm-worker"])
        launch.passed = [pair.far.descriptor.number]
        let child = try WorkerNamespace.start(launch)
        let user: WorkerUser
        do {
            user = try WorkerUser(of: child.process)
        } catch {
            _ = try? child.end()
            throw error
        }
        let link = WorkerLink(pair.near, consume child, user)
        do {
            // What the tenant can make big goes before what keeps its state.
            try Hardening.setOutOfMemoryScore(0, of: link.process)
        } catch {
            link.close()
            throw error
        }
        return link
    }

    /// Has the worker give up its privileges while the caller goes on.
    ///
    /// The pidfd is that of the init for whose sake it lives.
    package func confine(for initProcess: borrowing Descriptor) throws(Failure) {
        let request = WorkerRequest.confine(user: user.number)
        let deadline = Deadline(milliseconds: Self.timeout)
        do {
            try channel.send(request, descriptors: [initProcess.number], until: deadline)
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            // It has ended already. Why is in what it had sent before, or in its exit status.
            try awaitConfinement()
            throw error
        }
    }

    /// Makes sure that the worker is confined, and gives it what it begins with; with no state it manufactures a TPM.
    package func initialize(_ state: SecretBytes?) throws(Failure) {
        try awaitConfinement()
        try WorkerInspection.require(process, confinedAs: user)
        if try !WorkerInspection.hasLockedMemory(process) {
            Log.notice("cannot lock all of a worker's memory: RLIMIT_MEMLOCK is low, and there is no CAP_SYS_RESOURCE")
        }
        do {
            try begin(with: state)
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            // It has ended. Why is in what it had sent before.
            throw lastWords() ?? error
        }
    }

    private func begin(with state: SecretBytes?) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.timeout)
        try channel.send(WorkerRequest.initialize(hasState: state != nil), until: deadline)
        try state?.withBytes { (bytes) throws(Failure) in
            try channel.sendChunks(WorkerRequest.state, of: bytes, until: deadline)
        }
    }

    /// The failure that a worker that has ended had told of, where it had.
    private func lastWords() -> Failure? {
        let buffer = Channel.makeBuffer()
        // What it had not read is told once, before what it had sent. unix(7), ECONNRESET
        for _ in 0..<2 {
            guard let message = try? channel.receive(into: buffer) else { continue }
            guard case .failure(let failure)? = WorkerReply(message) else { return nil }
            return failure
        }
        return nil
    }

    private func awaitConfinement() throws(Failure) {
        let what = "cannot start the TPM"
        let deadline = Deadline(milliseconds: Self.confinementTimeout)
        let buffer = Channel.makeBuffer()
        guard try wait(for: channel.descriptor.number, until: deadline) != 0 else {
            throw Failure(what, because: "its worker does not confine itself")
        }
        guard let message = try channel.receive(into: buffer) else {
            guard let status = try end() else { throw Failure(what, because: "its worker ended") }
            throw Failure(what, because: "its worker ended with \(status)")
        }
        switch WorkerReply(message) {
        case .confined(let library): libraryVersion = library
        case .failure(let failure): throw failure
        default: throw Failure(what, because: "its worker sent message \(message.kind) out of turn")
        }
    }

    /// Has it end by itself, which it does when nobody is at the other end.
    ///
    /// execve(2) lets the parent go on before the program has its AppArmor profile, and until then a signal to it is one to
    /// a supervisor, which the profile forbids.
    private func endBeforeConfinement() {
        _ = shutdown(channel.descriptor.number, CInt(SHUT_RDWR))
        _ = try? wait(for: exit, until: Deadline(milliseconds: Self.timeout))
    }

    /// The descriptor that is readable once the worker has ended; -1, which poll(2) passes over, once it is reaped.
    var exit: CInt {
        switch child {
        case .none: -1
        case .some(let child): child.reference.descriptor.number
        }
    }

    /// Sends a message that has no answer to wait for; a worker that does not read is an error, and not waited for.
    package func send(_ request: WorkerRequest, descriptors: [CInt] = []) throws(Failure) {
        try channel.send(request, descriptors: descriptors)
    }

    /// Kills the worker at once.
    package func kill() {
        switch child {
        case .none: break
        case .some(let child): child.kill()
        }
    }

    /// Kills it, and reaps it; nil if that was done already.
    package func end() throws(Failure) -> WaitStatus? {
        switch child.take() {
        case .none: nil
        case .some(let child): try child.end()
        }
    }
}
