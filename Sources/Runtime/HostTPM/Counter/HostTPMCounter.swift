import Platform
import RuntimeState

/// The counter in the host's TPM that the host's index is bound to.
///
/// Opens the TPM for each use, since the next use may be months away.
public final class HostTPMCounter: MonotonicCounter {
    private let device: String
    private let handle: UInt32

    /// Creates the counter with this NV handle; `device` is the path of the TPM's resource manager.
    public init(device: String, handle: UInt32) {
        self.device = device
        self.handle = handle
    }

    public func exists() throws(Failure) -> Bool { try open().counterExists(handle) }

    public func define() throws(Failure) -> [UInt8] {
        var writer = ByteWriter()
        try open().defineCounter(handle).write(to: &writer)
        return writer.bytes
    }

    public func remove() throws(Failure) { try open().undefineCounter(handle) }

    public func read(_ identity: [UInt8]) throws(Failure) -> UInt64 { try open().readCounter(decode(identity)) }

    public func increment(_ identity: [UInt8]) throws(Failure) -> UInt64 {
        try open().incrementCounter(decode(identity))
    }

    private func open() throws(Failure) -> HostTPM { try .open(configured: device) }

    private func decode(_ identity: [UInt8]) throws(Failure) -> CounterIdentity {
        var reader = ByteReader(identity)
        guard let counter = CounterIdentity(&reader), reader.remaining == 0, counter.index == handle else {
            throw Failure("cannot use the host TPM's counter", because: "the index is bound to another one")
        }
        return counter
    }
}
