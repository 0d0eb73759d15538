import Platform

/// Where a running vTPM's state goes.
public protocol StateSink: AnyObject {
    /// How often the state was written.
    var generation: UInt64 { get }
    /// Takes a new state in; when it returns, the state is as safe as it will ever be.
    func write(_ payload: StatePayload) throws(Failure)
    /// Remembers that the vTPM was started or stopped, and which libtpms served it, as `major.minor.patch`.
    func recordUse(library: String?) throws(Failure)
    /// Goes over to another master key.
    func rekey(to key: MasterKey) throws(Failure)
}

/// The state of a vTPM that lives in memory alone, that of its worker: nothing is ever written.
public final class InMemoryStore: StateSink {
    public private(set) var generation: UInt64 = 0

    /// Starts with nothing written.
    public init() {}

    public func write(_ payload: StatePayload) throws(Failure) { generation += 1 }

    public func recordUse(library: String?) throws(Failure) {}

    public func rekey(to key: MasterKey) throws(Failure) {}
}
