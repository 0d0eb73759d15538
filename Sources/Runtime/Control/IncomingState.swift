import Glibc
import Platform

/// A TPM's state on its way between supervisor and worker, chunk by chunk.
package struct IncomingState {
    /// The chunks of a state that is not whole yet.
    private var part: SecretBytes?
    /// Memory for a state of one chunk, which most are: to map and lock it takes longer than to fill it.
    private var spare: SecretBytes?

    private let sender: StaticString
    private let purpose: StaticString

    /// Creates it without any chunk; the texts are for its error.
    package init(from sender: StaticString, failing purpose: StaticString = "cannot store the TPM's state") {
        (self.sender, self.purpose) = (sender, purpose)
    }

    /// Adds one chunk; returns the whole state once its last chunk has come.
    ///
    /// Call ``wipe()`` when the state is no longer needed.
    ///
    /// - Throws: ``Failure`` if there is more than ``WorkerReply/stateLimit``, or if memory cannot be locked.
    package mutating func take(_ chunk: borrowing Message) throws(Failure) -> SecretBytes? {
        let isLast = chunk.count < Channel.chunkSize
        let state: SecretBytes
        if let part {
            state = part
        } else if isLast {
            state = try memory(for: chunk.count)
        } else {
            state = try SecretBytes(capacity: WorkerReply.stateLimit)
        }
        part = isLast ? nil : state
        guard chunk.append(to: state) else {
            part = nil
            throw Failure("\(purpose)", because: "the \(sender) sent more than \(WorkerReply.stateLimit) bytes")
        }
        return isLast ? state : nil
    }

    /// Returns memory for one chunk: that of the state before, unless somebody still has it.
    private mutating func memory(for count: Int) throws(Failure) -> SecretBytes {
        if isKnownUniquelyReferenced(&spare), let spare, spare.capacity >= count {
            spare.wipe()
            return spare
        }
        let pageSize = sysconf(CInt(_SC_PAGESIZE))
        let memory = try SecretBytes(capacity: (max(count, 1) + pageSize - 1) / pageSize * pageSize)
        spare = memory
        return memory
    }

    /// Wipes what is kept of the last state, unless somebody still has it.
    package mutating func wipe() {
        if isKnownUniquelyReferenced(&spare) { spare?.wipe() }
    }
}
