import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeFilter
import VTPMProxy

/// What a worker is confined with, which is made while it loads its libraries.
package struct ConfinementMeans: ~Copyable {
    let filter: SystemCallProgram
    let network: Descriptor

    /// Compiles the filter, and makes a network namespace; needs CAP_SYS_ADMIN.
    package init() throws(Failure) {
        let network = try WorkerNamespace.makeNetwork()
        filter = try SystemCallFilter.worker.compiled()
        self.network = network
    }
}

/// The supervisor's side of its worker: the process, the channel, and the state that arrives in chunks.
package final class WorkerLink {
    /// The channel to the worker.
    package let channel: Channel
    /// The worker's process ID.
    let process: pid_t
    /// Whether the worker has closed its end, so that no message comes any more.
    var hasHungUp = false
    /// The process, until it is reaped.
    private var child: ChildProcess?
    private let user: WorkerUser
    /// The number of descriptors by which it watches its container.
    private var watchCount = 1
    /// The version of its libtpms; nil until the worker has said that it is confined.
    ///
    /// From then on the process runs the worker's program, with that program's AppArmor profile.
    package private(set) var libraryVersion: LibraryVersion?
    /// The chunks of a state that have come so far.
    var incoming = IncomingState(from: "worker")

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
            // The out-of-memory killer is to take the worker, which a tenant can make large, before the supervisor.
            try Hardening.setOutOfMemoryScore(0, of: link.process)
        } catch {
            link.close()
            throw error
        }
        return link
    }

    /// Asks the worker to give up its privileges, which it does while the caller goes on.
    ///
    /// A worker whose supervisor is gone ends when the container does.
    package func confine(
        for container: borrowing ContainerWatch,
        with means: borrowing ConfinementMeans
    ) throws(Failure) {
        let request = WorkerRequest.confine(user: user.number, filter: means.filter.bytes)
        let deadline = Deadline(milliseconds: Self.timeout)
        do {
            let descriptors = container.descriptors
            watchCount = descriptors.count
            try channel.send(request, descriptors: [means.network.number] + descriptors, until: deadline)
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            // It has ended already. A message that it had sent before, or its exit status, says why.
            try awaitConfinement()
            throw error
        }
    }

    /// Waits until the worker is confined, and checks that it is; from then on its library's version is known.
    package func requireConfined() throws(Failure) {
        try awaitConfinement()
        try WorkerInspection.require(process, confinedAs: user, watchingWith: watchCount)
        if try !WorkerInspection.hasLockedMemory(process) {
            Log.notice("cannot lock all of a worker's memory: RLIMIT_MEMLOCK is low, and there is no CAP_SYS_RESOURCE")
        }
    }

    /// Sends the worker the state, once it is confined; without a state it manufactures a TPM.
    ///
    /// It puts those of the keys at their handles that are not there, and then waits for what the host has for it, until
    /// ``close(measuring:_:)``.
    package func initialize(_ state: SecretBytes?, _ provision: TPMProvision) throws(Failure) {
        if libraryVersion == nil { try requireConfined() }
        do {
            try begin(with: state, provision)
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            // It has ended. A message that it had sent before says why.
            throw lastWords() ?? error
        }
    }

    /// Has the worker measure the events about the launch, if there are any, and close the platform hierarchy.
    package func close(measuring launch: SecretBytes? = nil, _ instance: [UInt8] = []) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.timeout)
        try launch?.withBytes { (bytes) throws(Failure) in
            try channel.sendChunks(WorkerRequest.launch, of: bytes, until: deadline)
        }
        try channel.send(WorkerRequest.close(instance: instance), until: deadline)
    }

    private func begin(with state: SecretBytes?, _ provision: TPMProvision) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.timeout)
        let request = WorkerRequest.initialize(hasState: state != nil, provision)
        try channel.send(request, until: deadline)
        try state?.withBytes { (bytes) throws(Failure) in
            try channel.sendChunks(WorkerRequest.state, of: bytes, until: deadline)
        }
    }

    /// Returns the failure that a worker had sent before it ended, or nil if it had sent none.
    private func lastWords() -> Failure? {
        let buffer = Channel.makeBuffer()
        // The kernel first reports once that it had left messages unread. unix(7), ECONNRESET
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

    /// Closes the channel and waits, since a worker ends by itself if nobody is at the other end.
    ///
    /// execve(2) lets the parent go on before the program has its AppArmor profile. Until then a signal would go to a
    /// process with the supervisor's profile, which forbids that.
    private func endBeforeConfinement() {
        _ = shutdown(channel.descriptor.number, CInt(SHUT_RDWR))
        _ = try? wait(for: exit, until: Deadline(milliseconds: Self.timeout))
    }

    /// The descriptor that is readable once the worker has ended; -1, which poll(2) ignores, once it is reaped.
    var exit: CInt {
        switch child {
        case .none: -1
        case .some(let child): child.reference.descriptor.number
        }
    }

    /// Sends a message without waiting; throws if the worker does not read its messages.
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

    /// Kills the worker and reaps it; returns nil if that was done already.
    package func end() throws(Failure) -> WaitStatus? {
        switch child.take() {
        case .none: nil
        case .some(let child): try child.end()
        }
    }
}
