import Crypto
import Platform

/// The master keys that a host has at a time: one, or two while it goes from one to the next.
public struct KeyRing {
    /// What new states are made with, and what each state goes to with its next write.
    public let current: MasterKey
    /// The key that states may still need.
    public let previous: MasterKey?

    /// A key, and the one before it where states may still need it.
    public init(_ current: MasterKey, previous: MasterKey? = nil) {
        self.current = current
        self.previous = previous?.id == current.id ? nil : previous
    }

    /// The keys, the current one first.
    public var all: [MasterKey] { [current] + (previous.map { [$0] } ?? []) }

    /// The key with this id; nil if it is not here.
    package func key(_ id: [UInt8]) -> MasterKey? { all.first { $0.id == id } }

    /// The instance's key of a state that is to be that of `stateID`.
    package func instanceKey(of header: StateFile, _ stateID: String, path: String) throws(Failure) -> SecretBytes {
        let what = "cannot load the state \(path)"
        // As bytes: Swift takes texts for equal that are written in different bytes.
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
        return try key.instanceKey(uuid: header.uuid, stateID: stateID)
    }

    /// What an error says about a file that needs another key.
    package func names() -> String { all.map { Hexadecimal.encode($0.id) }.joined(separator: " and ") }
}
