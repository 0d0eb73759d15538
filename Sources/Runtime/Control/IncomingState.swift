import Platform

/// A TPM's state on its way between supervisor and worker, chunk by chunk.
package struct IncomingState {
    /// The chunks of a state that is not whole yet.
    private var part: SecretBytes?

    private let sender: StaticString
    private let purpose: StaticString

    /// Creates it without any chunk; the texts are for its error.
    package init(from sender: StaticString, failing purpose: StaticString = "cannot store the TPM's state") {
        (self.sender, self.purpose) = (sender, purpose)
    }

    /// Adds one chunk; returns the whole state once its last chunk has come, and keeps nothing of it.
    ///
    /// - Throws: ``Failure`` if there is more than ``WorkerReply/stateLimit``, or if memory cannot be locked.
    package mutating func take(_ chunk: borrowing Message) throws(Failure) -> SecretBytes? {
        let isLast = chunk.count < Channel.chunkSize
        let state: SecretBytes
        if let part {
            state = part
        } else {
            // Nearly every state fits into one chunk, and locked memory is made page by page before it is used.
            state = try SecretBytes(capacity: isLast ? max(chunk.count, 1) : WorkerReply.stateLimit)
        }
        part = isLast ? nil : state
        guard chunk.append(to: state) else {
            part = nil
            throw Failure("\(purpose)", because: "the \(sender) sent more than \(WorkerReply.stateLimit) bytes")
        }
        return isLast ? state : nil
    }
}
