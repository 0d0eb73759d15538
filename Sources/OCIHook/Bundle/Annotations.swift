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

    /// Takes them from the state and the bundle's configuration, which must have the same ones.
    ///
    /// Runtimes hand on what `config.json` has (runtime-spec, runtime.md, "State"). Where the two disagree, or one has more,
    /// the container was made from another configuration. An annotation that is meant for this hook and unknown to it is an
    /// error as well: a container must not start with less than it was asked to have.
    public init(state: [String: String]?, bundle: [String: String]?) throws(Failure) {
        let values = bundle ?? [:]
        if let contradiction = Self.contradiction(state ?? [:], values),
            Self.contradiction(state ?? [:], Self.asByRunc(values)) != nil
        {
            throw Failure(
                "cannot obey the annotation \(contradiction.key.excerpt)",
                because: contradiction.why,
                hint: BundleOrigin.hint
            )
        }
        // By bytes: for Swift, the dot with a combining character after it is another character.
        let ours = values.keys.filter { $0.utf8.starts(with: Self.prefix.utf8) }
        let known = Key.allCases.map(\.rawValue)
        if let unknown = ours.filter({ !known.contains($0) }).min() {
            throw Failure(
                "cannot obey the annotation \(unknown.excerpt)",
                because: "this version does not know it",
                hint: "known: \(known.joined(separator: ", "))"
            )
        }
        self.values = values
    }

    subscript(key: Key) -> String? { values[key.rawValue] }

    subscript(key: String) -> String? { values[key] }

    /// The first annotation that the two do not have in common, byte by byte.
    private static func contradiction(
        _ state: [String: String],
        _ bundle: [String: String]
    ) -> (key: String, why: String)? {
        for key in Set(state.keys).union(bundle.keys).sorted() {
            switch (state[key], bundle[key]) {
            case (.some(let one), .some(let other)) where one.utf8.elementsEqual(other.utf8): continue
            case (.some, .some): return (key, "the runtime and config.json give it different values")
            case (.none, _): return (key, "config.json has it and the runtime does not")
            case (_, .none): return (key, "the runtime has it and config.json does not")
            }
        }
        return nil
    }

    /// What runc hands on: it keeps them as `key=value`, beside the bundle's path under the key `bundle`, and takes them
    /// apart at the first `=` (libcontainer/utils/utils.go, `Annotations`).
    private static func asByRunc(_ annotations: [String: String]) -> [String: String] {
        var given: [String: String] = [:]
        for (key, value) in annotations {
            let parts = "\(key)=\(value)".split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts[0] != "bundle" { given[String(parts[0])] = String(parts[1]) }
        }
        return given
    }
}
