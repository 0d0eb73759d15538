import Platform

/// A counter that never decreases, in the host's TPM, where a copy of the disk does not include it.
public protocol MonotonicCounter: AnyObject {
    /// Returns whether the counter exists.
    func exists() throws(Failure) -> Bool
    /// Creates the counter; returns the bytes that identify it from now on.
    func define() throws(Failure) -> [UInt8]
    /// Removes the counter from the host's TPM.
    func remove() throws(Failure)
    /// Returns the counter's value; throws a ``Failure`` if it is not the counter with this identity.
    func read(_ identity: [UInt8]) throws(Failure) -> UInt64
    /// Increments the counter by one; returns the new value.
    func increment(_ identity: [UInt8]) throws(Failure) -> UInt64
}
