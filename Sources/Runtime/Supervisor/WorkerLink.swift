import Glibc
import Platform
import RuntimeControl

/// The supervisor's side of its worker: the process, the channel, and the state that arrives in chunks.
package final class WorkerLink {
    /// The channel to it.
    package let channel: Channel
    /// Its pidfd.
    let reference: ProcessReference
    /// Whether it has closed its end: there is nothing to hear any more.
    var isSilent = false
    private let child: ChildProcess
    private let incoming: SecretBytes

    /// How long the worker may leave a message unread before it counts as stuck.
    private static let patience = 5000

    private init(_ channel: Channel, _ reference: consuming ProcessReference, _ child: ChildProcess) throws(Failure) {
        self.incoming = try SecretBytes(capacity: WorkerMessage.stateLimit)
        self.channel = channel
        self.reference = reference
        self.child = child
    }

    /// Starts the worker and gives it what it begins with; with no state it manufactures a TPM.
    package static func start(
        program: String,
        initProcess: borrowing Descriptor,
        state: SecretBytes?
    ) throws(Failure) -> WorkerLink {
        let pair = try Channel.pair(near: "supervisor", far: "worker")
        var launch = ProgramLaunch(program, ["vtpm-worker"])
        launch.passed = [pair.far.descriptor.number]
        let child = try launch.start()
        do {
            let deadline = Deadline(milliseconds: patience)
            var order = ByteWriter()
            order.write(UInt8(state == nil ? 0 : 1))
            let descriptors = [initProcess.number]
            try pair.near.send(WorkerMessage.initialize, order, descriptors: descriptors, until: deadline)
            try state?.withBytes { (bytes) throws(Failure) in
                try pair.near.sendChunks(WorkerMessage.state, of: bytes, until: deadline)
            }
            return try WorkerLink(pair.near, ProcessReference(child.process), child)
        } catch {
            child.kill()
            _ = try? child.wait()
            throw error
        }
    }

    /// The worker's process ID.
    var process: pid_t { reference.process }

    /// Sends a message that has no answer to wait for; a worker that does not read is an error, and not waited for.
    package func tell(_ kind: UInt8, descriptors: [CInt] = []) throws(Failure) {
        try channel.send(kind, descriptors: descriptors)
    }

    /// Takes one chunk of a state in; returns the whole state once the last one came.
    ///
    /// It is valid until ``forgetState()``.
    package func collect(_ chunk: borrowing Message) throws(Failure) -> SecretBytes? {
        guard chunk.append(to: incoming) else {
            throw Failure(
                "cannot store the TPM's state",
                because: "the worker sent more than \(WorkerMessage.stateLimit) bytes"
            )
        }
        return chunk.count < Channel.chunkSize ? incoming : nil
    }

    /// Wipes what was collected.
    package func forgetState() {
        incoming.wipe()
    }

    /// Kills the worker at once.
    package func kill() {
        reference.kill()
    }

    /// Waits for its end, and reaps it.
    package func reap() throws(Failure) -> WaitStatus {
        try child.wait()
    }
}
