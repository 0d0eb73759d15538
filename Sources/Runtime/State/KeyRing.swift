import Crypto
import Platform

/// The master keys of a host: one, or two during a key rotation.
public struct KeyRing {
    /// The key of new states, and of each state from its next write on.
    public let current: MasterKey
    /// The key before the current one, which states may still need; nil if none can.
    public let previous: MasterKey?

    /// Creates a ring of the current key and, if states may still need it, the one before it.
    public init(_ current: MasterKey, previous: MasterKey? = nil) {
        self.current = current
        self.previous = previous?.id == current.id ? nil : previous
    }

    /// All keys, the current one first.
    public var all: [MasterKey] { [current] + (previous.map { [$0] } ?? []) }

    /// Returns the key with this ID, or nil if the ring does not have it.
    package func key(_ id: [UInt8]) -> MasterKey? { all.first { $0.id == id } }

    /// Returns the instance's keys of a state.
    ///
    /// Throws a ``Failure`` if the header names another state than `stateID`, or a master key that the ring does not
    /// have.
    package func instanceKeys(of header: StateFile, _ stateID: String, path: String) throws(Failure) -> InstanceKeys {
        let what = "cannot load the state \(path)"
        // Compared as bytes: Swift's `==` also holds for strings that are canonically equivalent in different bytes.
        guard header.stateID.utf8.elementsEqual(stateID.utf8) else {
            throw Failure(
                what,
                because: "it is the state of \"\(header.stateID)\", not of \"\(stateID)\"",
                hint: "restore the file from a backup"
            )
        }
        guard let key = key(header.keyID) else {
            throw Failure(
                what,
                because: "it needs the master key \(Hexadecimal.encode(header.keyID)), "
                    + "and this host has \(names())",
                hint: "restore that key"
            )
        }
        return try key.instanceKeys(uuid: header.uuid, stateID: stateID)
    }

    /// Returns the IDs of all keys in hexadecimal, for errors.
    package func names() -> String { all.map { Hexadecimal.encode($0.id) }.joined(separator: " and ") }
}
