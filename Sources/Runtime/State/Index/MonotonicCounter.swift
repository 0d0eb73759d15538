import Platform

/// A counter that never goes back, kept where a copy of the disk is not: in the host's TPM.
public protocol MonotonicCounter: AnyObject {
    /// Whether there is one already.
    func exists() throws(Failure) -> Bool
    /// Makes it; returns what it is recognized by from now on.
    func define() throws(Failure) -> [UInt8]
    /// Removes it.
    func remove() throws(Failure)
    /// Its value; a counter that is not the one with this identity is a ``Failure``.
    func read(_ identity: [UInt8]) throws(Failure) -> UInt64
    /// Raises it by one; returns the new value.
    func increment(_ identity: [UInt8]) throws(Failure) -> UInt64
}
