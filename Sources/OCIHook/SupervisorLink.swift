import AuthorityClient
import Glibc
import Launch
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import VTPMProxy

/// The hook's side of its supervisor, until the container is complete.
final class SupervisorLink {
    private let channel: Channel
    /// The supervisor's process; nil once it has been reaped, and for a hook that is not its parent.
    private var child: ChildProcess?
    /// The supervisor's process for a hook that is not its parent.
    private var reference: ProcessHandle?
    private let buffer = Channel.makeBuffer()
    /// The name of the lease; nil until the request has been sent.
    private var leaseName: String?
    /// Whether the supervisor does not depend on this process any more.
    private(set) var isCommitted = false
    private var lease: OpenLease?
    /// The record of an ephemeral TPM's endorsement, which goes into the lease; empty if there is none.
    private var endorsement: [UInt8] = []
    /// The event about what runs; nil if the launch is not measured.
    private var launch: [UInt8]?
    /// Whether the TPM has no state for the record of its endorsement to be in.
    private var isEphemeral = false

    /// The supervisor's process ID.
    let process: pid_t

    /// The timeout for one step of the supervisor, in milliseconds.
    ///
    /// The longest step is a TPM manufacture on a busy host.
    private static let timeout = 30_000

    /// Ends the supervisor of a container that is not created, and undoes the rest if it was killed.
    ///
    /// It must be called however the creation ends. It waits up to 5 s for the supervisor, and then kills it.
    func abandonUnlessCommitted(in runDirectory: borrowing Descriptor, _ leftovers: Leftovers) {
        guard !isCommitted else { return }
        end()
        // Before the request was sent, a lease of this name cannot be this supervisor's.
        guard let leaseName else { return }
        do throws(Failure) {
            switch lease.take() {
            case .some(let own): try leftovers.undo(own, in: runDirectory)
            case .none: try leftovers.remove(leaseName, in: runDirectory)
            }
        } catch {
            Log.error("\(error)")
        }
    }

    /// Starts a supervisor in a session of its own; it starts its worker in the background.
    convenience init(program: String, worker: String, in place: VTPMPlace) throws(Failure) {
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        var launch = ProgramLaunch(program, ["vtpm-supervisor", worker])
        launch.passed = [pair.far.descriptor.number]
        launch.ownSession = true
        self.init(to: try place.start(launch), over: pair.near)
    }

    /// Takes over a running supervisor and the channel to it.
    init(to child: consuming ChildProcess, over channel: Channel) {
        self.process = child.process
        self.child = consume child
        self.channel = channel
    }

    /// Takes over the supervisor of a vTPM that was prepared, with its lease.
    init(
        over channel: Channel,
        to supervisor: consuming ProcessHandle,
        _ lease: consuming OpenLease
    ) {
        process = supervisor.process
        reference = consume supervisor
        self.channel = channel
        leaseName = lease.name
        self.lease = consume lease
    }

    /// The channel's descriptor, which is readable once the supervisor has sent something, or has ended.
    var number: CInt { channel.descriptor.number }

    /// Calls `body` with the lease; throws if there is none yet.
    func withLease<Result: ~Copyable>(
        _ body: (borrowing OpenLease) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        switch lease {
        case .some(let own): return try body(own)
        case .none: throw confused
        }
    }

    /// Hands the vTPM over to a hook, at the other end of a connection.
    func handOver(to hook: Channel) throws(Failure) {
        try withLease { (lease) throws(Failure) in
            try hook.send(AdoptionReply.handedOver, descriptors: [number, lease.directory.number])
        }
        isCommitted = true
    }

    /// Names the container that adopts a vTPM which was prepared.
    func adopt(_ container: ContainerIdentity, _ watch: borrowing ContainerWatch) throws(Failure) {
        try channel.send(HookRequest.adopt(container), descriptors: watch.descriptors)
        guard case .adopted? = HookReply(try nextMessage()) else { throw confused }
    }

    /// Sends the start request, with the descriptors that it needs.
    ///
    /// The keys, the state of a TPM from the pool, and the directories of the states and the index are for a persistent state
    /// only.
    func begin(
        _ request: StartRequest,
        keys: [MasterKey],
        pooled: SecretBytes? = nil,
        launch: [UInt8]?,
        runDirectory: borrowing Descriptor,
        container: borrowing ContainerWatch,
        directories: [CInt]
    ) throws(Failure) {
        let descriptors = [runDirectory.number] + container.descriptors + directories
        do {
            try channel.send(HookRequest.start(request), descriptors: descriptors)
            leaseName = request.leaseName
            isEphemeral = if case .ephemeral = request.storage { true } else { false }
            for key in keys { try channel.send(HookRequest.key, key.key) }
            try pooled?.withBytes { (bytes) throws(Failure) in
                let deadline = Deadline(milliseconds: Self.timeout)
                try channel.sendChunks(HookRequest.state, of: bytes, until: deadline)
            }
            self.launch = launch
            if let launch {
                let deadline = Deadline(milliseconds: Self.timeout)
                try channel.sendChunks(HookRequest.launch, of: launch, until: deadline)
            }
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            // The supervisor has ended, but an error that it sent before can still be received, after the word that its
            // worker is started.
            for _ in 0..<2 { _ = try receive() }
            throw error
        }
    }

    /// Waits until the supervisor has started its worker, and opens that process.
    ///
    /// Call it after ``begin(_:keys:pooled:launch:runDirectory:container:directories:)``.
    func awaitWorker(_ procfs: borrowing Procfs) throws(Failure) -> ProcessHandle {
        guard case .started(let process)? = HookReply(try nextMessage()) else { throw confused }
        do {
            let worker = try ProcessHandle(process)
            // The process ID could be another's by now, but not that of another child of the supervisor's.
            if try procfs.status(of: process)["PPid"] == "\(self.process)", try worker.isAlive() { return worker }
        } catch let error where error.code == ESRCH || error.code == ENOENT || error.code == EINVAL {}
        // The supervisor knows how it ended.
        _ = try nextMessage()
        throw confused
    }

    /// Waits until the TPM has started up.
    ///
    /// `startAuthority` is called if the TPM is to be endorsed.
    func awaitReady(
        _ startAuthority: () throws(Failure) -> StartedAuthority
    ) throws(Failure) -> StartedTPM {
        let message = try nextMessage()
        guard case .needsAuthority(let isNew)? = HookReply(message) else { return try takeReady(message) }
        let authority: StartedAuthority
        do throws(Failure) {
            authority = try startAuthority()
        } catch {
            // A container that has had its TPM before does not depend on a certificate.
            if isNew { throw error }
            Log.error("\(error)")
            try hand(over: [])
            return try takeReady(nextMessage())
        }
        defer { authority.process.kill() }
        try hand(over: [authority.channel.descriptor.number])
        let started = try takeReady(nextMessage(patience: authority.patience))
        authority.process.end()
        return started
    }

    private func hand(over authority: [CInt]) throws(Failure) {
        do throws(Failure) {
            try channel.send(HookRequest.authority, descriptors: authority)
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            // The supervisor has ended, and has said why before.
            _ = try receive()
            throw error
        }
    }

    private func takeReady(_ message: consuming Message) throws(Failure) -> StartedTPM {
        guard case .ready(let started)? = HookReply(message), let leaseName,
            launch == nil || TaggedEvent.instance.statement(in: started.instance) != nil,
            let directory = message.descriptors.take()
        else { throw confused }
        lease = OpenLease(leaseName, directory)
        if isEphemeral { endorsement = started.endorsement }
        return started
    }

    /// The log of a TPM's launch; nil if that is not measured.
    func launchLog(of started: StartedTPM) -> LaunchLog? {
        launch.map { LaunchLog(launch: $0, instance: started.instance) }
    }

    /// Writes the lease into the directory that the supervisor has made, even if the name leads to another by now.
    func write(_ lease: Lease, _ log: LaunchLog? = nil, manifest: [UInt8]? = nil) throws(Failure) {
        try withLease { (own) throws(Failure) in
            try own.write(lease)
            if !endorsement.isEmpty { try own.write(endorsement: endorsement) }
            if let log { try own.write(launchLog: log.encoded()) }
            if let manifest { try own.write(manifest: manifest) }
        }
    }

    /// Passes the device's server end to the worker, and waits until it serves it.
    func serve(_ device: borrowing ProxyDevice) throws(Failure) {
        try channel.send(HookRequest.device(number: device.number), descriptors: [device.server.number])
        guard case .serving? = HookReply(try nextMessage()) else { throw confused }
    }

    /// Passes a device to the supervisor, which keeps it open and unused, so that its number stays taken.
    func reserve(_ device: borrowing ProxyDevice) throws(Failure) {
        try channel.send(HookRequest.reserve, descriptors: [device.server.number])
    }

    /// Throws if the supervisor has sent an error or any other message, or has ended; does not block.
    func check() throws(Failure) {
        guard try wait(for: number, until: Deadline(milliseconds: 0)) != 0 else { return }
        _ = try receive()
        throw confused
    }

    /// Completes the creation: from here on the supervisor does not undo it if the hook ends.
    func commit() throws(Failure) {
        try channel.send(HookRequest.commit)
        guard case .committed? = HookReply(try nextMessage()) else { throw confused }
        isCommitted = true
    }

    /// Shuts the channel down, on which the supervisor undoes everything, and waits for it; kills it after 5 s.
    func end() {
        _ = shutdown(channel.descriptor.number, CInt(SHUT_RDWR))
        do throws(Failure) {
            switch child.take() {
            case .none: break
            case .some(let child): _ = try child.wait(until: Deadline(milliseconds: 5000))
            }
            switch reference.take() {
            case .none: break
            case .some(let process): try process.awaitEnd(milliseconds: 5000)
            }
        } catch {
            Log.error("\(error)")
        }
    }

    /// Waits for the next message, for so many milliseconds more than one step takes.
    private func nextMessage(patience: Int = 0) throws(Failure) -> Message {
        guard try wait(for: number, until: Deadline(milliseconds: Self.timeout + patience)) != 0 else {
            throw Failure("cannot start the vTPM", because: "the supervisor does not answer")
        }
        return try receive()
    }

    private func receive() throws(Failure) -> Message {
        guard let message = try channel.receive(into: buffer) else {
            throw Failure(
                "cannot start the vTPM",
                because: "the supervisor ended",
                hint: "see its lines in the system log"
            )
        }
        if case .failure(let failure)? = HookReply(message) { throw failure }
        return message
    }

    var confused: Failure {
        Failure("cannot start the vTPM", because: "the supervisor's answer makes no sense")
    }
}
