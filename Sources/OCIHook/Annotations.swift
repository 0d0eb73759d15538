import Platform

/// A container's annotations, as the runtime's state and `config.json` give them together. runtime-spec, config.md
public struct Annotations: Sendable {
    /// The annotations that are meant for this hook.
    public enum Key: String, CaseIterable, Sendable {
        /// Whether the state outlives the container: `persistent` or `ephemeral`.
        case state = "org.container-vtpm.state"
        /// The name of the state.
        case stateID = "org.container-vtpm.state-id"
    }

    /// What the name of an annotation for this hook begins with.
    private static let prefix = "org.container-vtpm."

    private let values: [String: String]

    /// Collects them from the state and the bundle's configuration.
    ///
    /// Runtimes hand on what `config.json` has. Where the two disagree, one of them has been tampered with, or a key has
    /// been read differently. An annotation that is meant for this hook and unknown to it is an error as well: a
    /// container must not start with less than it was asked to have.
    public init(state: [String: String]?, bundle: [String: String]?) throws(Failure) {
        var values = state ?? [:]
        for (key, value) in bundle ?? [:] {
            if let other = values[key], !other.utf8.elementsEqual(value.utf8) {
                throw Failure(
                    "cannot obey the annotation \(key.excerpt)",
                    because: "the runtime and config.json give it different values"
                )
            }
            values[key] = value
        }
        // By bytes: for Swift, the dot with a combining character after it is another character.
        let ours = values.keys.filter { $0.utf8.starts(with: Self.prefix.utf8) }
        let known = Key.allCases.map(\.rawValue)
        if let unknown = ours.filter({ !known.contains($0) }).min() {
            throw Failure(
                "cannot obey the annotation \(unknown.excerpt)",
                because: "this version does not know it",
                remedy: "known: \(known.joined(separator: ", "))"
            )
        }
        self.values = values
    }

    subscript(key: Key) -> String? { values[key.rawValue] }

    subscript(key: String) -> String? { values[key] }
}
