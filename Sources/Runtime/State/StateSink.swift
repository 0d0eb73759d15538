import Platform
import VTPMProxy

/// The destination of a running vTPM's state.
public protocol StateSink: AnyObject {
    /// The number of the last write.
    var generation: UInt64 { get }
    /// The instance's UUID, 16 bytes; empty if the state is in memory only.
    var instance: [UInt8] { get }
    /// The host's record of the TPM's identity, which each write has; empty if there is none.
    var endorsement: [UInt8] { get set }
    /// Writes a new state; when it returns, the state is as durable as this sink ever makes it.
    func write(_ payload: StatePayload) throws(Failure)
    /// Records that the vTPM was started or stopped, and the version of its libtpms as `major.minor.patch`.
    func recordUse(library: String?) throws(Failure)
    /// Returns what identifies the counter in the host's TPM that the host's index is bound to, and the value that belongs to
    /// the index; nil if it is bound to none.
    func counter() throws(Failure) -> (identity: [UInt8], value: UInt64)?
    /// Writes the state under another master key, now and from now on.
    func rekey(to key: MasterKey) throws(Failure)
    /// Records keys by their marks as this instance's, unless something speaks against one of them.
    func claim(_ keys: [[UInt8]], ofNew isNew: Bool) throws(Failure) -> KeyClaim
    /// Names another user in the state's lock: a container that has adopted a vTPM which was prepared for its runtime.
    func name(_ user: StateUser) throws(Failure)
}

/// The sink of a vTPM whose state is only in its worker's memory; it writes nothing.
public final class InMemoryStore: StateSink {
    public private(set) var generation: UInt64 = 0
    public let instance: [UInt8] = []
    public var endorsement: [UInt8] = []

    /// Creates a sink at generation 0.
    public init() {}

    public func write(_ payload: StatePayload) throws(Failure) { generation += 1 }

    public func recordUse(library: String?) throws(Failure) {}

    public func counter() throws(Failure) -> (identity: [UInt8], value: UInt64)? { nil }

    public func rekey(to key: MasterKey) throws(Failure) {}

    public func claim(_ keys: [[UInt8]], ofNew isNew: Bool) throws(Failure) -> KeyClaim { .own }

    public func name(_ user: StateUser) throws(Failure) {}
}
