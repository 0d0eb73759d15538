import Platform
import RuntimeState

/// A fixture: a counter in memory in place of the one in the host's TPM.
final class MemoryCounter: MonotonicCounter {
    var value: UInt64?
    var identity: [UInt8] = []
    var isBroken = false
    private static let unknown = Failure("cannot read the counter", because: "it is another one")

    func exists() throws(Failure) -> Bool { value != nil }

    func define() throws(Failure) -> [UInt8] {
        value = 1000
        identity = [1, 2, 3, UInt8(identity.count)]
        return identity
    }

    func remove() throws(Failure) { value = nil }

    func read(_ identity: [UInt8]) throws(Failure) -> UInt64 {
        guard let value, identity == self.identity else { throw Self.unknown }
        return value
    }

    func increment(_ identity: [UInt8]) throws(Failure) -> UInt64 {
        if isBroken { throw Failure("cannot raise the counter", because: "the power failed") }
        value = try read(identity) + 1
        return try read(identity)
    }
}
