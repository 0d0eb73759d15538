import Configuration

extension StateIdentity {
    /// What the operator decided of a container whose ID nobody will use again: engines make one at random for each run.
    ///
    /// Such an ID has 64 hexadecimal digits (moby's stringid.GenerateRandomID, podman's). A container that names its state
    /// or says how it is to be kept means it.
    static func retention(
        containerID: String,
        annotations: Annotations,
        allowed: Configuration.State
    ) -> Configuration.State.RandomIDs {
        guard annotations[.stateID] == nil, annotations[.state] == nil, isRandom(containerID) else {
            return .persistent
        }
        return allowed.randomIDs
    }

    /// Whether an ID is as engines make them.
    static func isRandom(_ containerID: String) -> Bool {
        containerID.utf8.count == 64
            && containerID.utf8.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
            }
    }
}

extension Configuration.State.RandomIDs {
    /// How long a state is kept after its last use, in seconds; nil if until somebody removes it.
    var keptFor: UInt64? { if case .kept(let seconds) = self { seconds } else { nil } }
}
