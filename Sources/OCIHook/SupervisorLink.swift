import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import VTPMProxy

/// The hook's side of its supervisor, until the container is complete.
final class SupervisorLink {
    private let channel: Channel
    /// Its process, until it is waited for.
    private var child: ChildProcess?
    private let buffer = Channel.makeBuffer()
    /// The name of its lease, once it has its request.
    private var leaseName: String?
    private var isCommitted = false
    private var lease: OpenLease?

    /// The supervisor's process ID.
    let process: pid_t

    /// How long the supervisor may take for a step, in milliseconds; the longest is a manufacture on a busy host.
    private static let timeout = 30_000

    /// Ends the supervisor of a container that does not come to be, and undoes what it has not, if it was killed.
    ///
    /// It has to be called however the creation ends, and waits for the supervisor for up to 5 s.
    func abandonUnlessCommitted(in runDirectory: borrowing Descriptor, _ leftovers: Leftovers) {
        guard !isCommitted else { return }
        abandon()
        // Before, whatever lease there is is not its.
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

    /// Starts a supervisor, in a session of its own, which starts its worker while the caller goes on.
    convenience init(program: String, worker: String) throws(Failure) {
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        var launch = ProgramLaunch(program, ["vtpm-supervisor", worker])
        launch.passed = [pair.far.descriptor.number]
        launch.ownSession = true
        self.init(to: try launch.start(), over: pair.near)
    }

    /// Takes over a supervisor that was started, and the channel to it.
    init(to child: consuming ChildProcess, over channel: Channel) {
        self.process = child.process
        self.child = consume child
        self.channel = channel
    }

    /// Asks the supervisor for the vTPM.
    ///
    /// The keys, and the directories of the states and the index, are for a persistent state.
    func begin(
        _ request: StartRequest,
        keys: [MasterKey],
        runDirectory: borrowing Descriptor,
        initProcess: borrowing ProcessHandle,
        directories: [CInt]
    ) throws(Failure) {
        let descriptors = [runDirectory.number, initProcess.descriptor.number] + directories
        do {
            try channel.send(HookRequest.start(request), descriptors: descriptors)
            leaseName = request.leaseName
            for key in keys { try channel.send(HookRequest.key, key.key) }
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            // It has ended. What it had said before is still there.
            _ = try receive()
            throw error
        }
    }

    /// Waits until the TPM has started up; returns its worker's process ID, and the libtpms that it runs.
    func awaitReady() throws(Failure) -> (worker: pid_t, library: LibraryVersion) {
        var message = try nextMessage()
        guard case .ready(let worker, let library)? = HookReply(message), let leaseName,
            let directory = message.descriptors.take()
        else { throw confused }
        lease = OpenLease(leaseName, directory)
        return (worker, library)
    }

    /// Writes the lease into the directory that the supervisor has made for it, whatever its name leads to by now.
    func write(_ lease: Lease) throws(Failure) {
        switch self.lease {
        case .some(let own): try own.write(lease)
        case .none: throw confused
        }
    }

    /// Has the worker serve a device.
    func serve(_ device: borrowing ProxyDevice) throws(Failure) {
        try channel.send(HookRequest.device(number: device.number), descriptors: [device.server.number])
        guard case .serving? = HookReply(try nextMessage()) else { throw confused }
    }

    /// Has the supervisor keep a device, unused, so that its number stays taken.
    func reserve(_ device: borrowing ProxyDevice) throws(Failure) {
        try channel.send(HookRequest.reserve, descriptors: [device.server.number])
    }

    /// Throws if the supervisor has failed in the meantime.
    func check() throws(Failure) {
        guard try wait(for: channel.descriptor.number, until: Deadline(milliseconds: 0)) != 0 else { return }
        _ = try receive()
        throw confused
    }

    /// Leaves the vTPM to the supervisor.
    func commit() throws(Failure) {
        try channel.send(HookRequest.commit)
        guard case .committed? = HookReply(try nextMessage()) else { throw confused }
        isCommitted = true
    }

    /// Ends the supervisor and waits until it has undone everything.
    private func abandon() {
        _ = shutdown(channel.descriptor.number, CInt(SHUT_RDWR))
        do throws(Failure) {
            switch child.take() {
            case .none: break
            case .some(let child): _ = try child.wait(until: Deadline(milliseconds: 5000))
            }
        } catch {
            Log.error("\(error)")
        }
    }

    private func nextMessage() throws(Failure) -> Message {
        guard try wait(for: channel.descriptor.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
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

    private var confused: Failure {
        Failure("cannot start the vTPM", because: "the supervisor's answer makes no sense")
    }
}
