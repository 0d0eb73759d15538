import Configuration

extension StateIdentity {
    /// Returns how long to keep the state of a container whose ID an engine made at random for one run.
    ///
    /// Such an ID has 64 hexadecimal digits (moby's stringid.GenerateRandomID, podman's). If an annotation names the
    /// state or says how it is kept, or if the names of pods make state IDs, the operator's choice for random IDs does
    /// not apply.
    static func retention(
        containerID: String,
        annotations: Annotations,
        allowed: Configuration.State
    ) -> Configuration.State.RandomIDs {
        guard allowed.source != .pod, annotations[.stateID] == nil, annotations[.state] == nil, isRandom(containerID)
        else {
            return .persistent
        }
        return allowed.randomIDs
    }

    /// Returns whether an ID has the form of a random one: 64 lowercase hexadecimal digits.
    static func isRandom(_ containerID: String) -> Bool {
        containerID.utf8.count == 64
            && containerID.utf8.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
            }
    }
}

extension Configuration.State.RandomIDs {
    /// The time to keep a state after its last use, in seconds; nil to keep it until somebody removes it.
    var keptFor: UInt64? { if case .kept(let seconds) = self { seconds } else { nil } }
}
