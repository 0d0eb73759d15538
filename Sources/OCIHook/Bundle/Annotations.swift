import Platform

/// A container's annotations, on which the runtime's state and `config.json` must agree. runtime-spec, config.md
public struct Annotations: Sendable {
    /// The annotations that this hook understands.
    public enum Key: String, CaseIterable, Sendable {
        /// Whether the container gets a TPM: `true` or `false`.
        case enable = "org.container-vtpm.enable"
        /// Whether the state outlives the container: `persistent` or `ephemeral`.
        case state = "org.container-vtpm.state"
        /// The name of the state, of which its ID is made.
        case stateID = "org.container-vtpm.state-id"
        /// The keys that the TPM has at their handles: names with commas between them.
        case keys = "org.container-vtpm.keys"
        /// Whether the TPM gets certificates for its keys: `issued` or `none`.
        case certificates = "org.container-vtpm.certificates"
    }

    /// The prefix of each annotation that is meant for this hook.
    private static let prefix = "org.container-vtpm."

    private let values: [String: String]

    /// Takes the annotations of the state and the bundle's configuration.
    ///
    /// Runtimes copy those of `config.json` into the state (runtime-spec, runtime.md, "State"). If the two differ, the
    /// container was made from another configuration. An unknown annotation with this hook's prefix is an error too: a
    /// container must not start with less than it asked for.
    ///
    /// - Throws: ``Failure`` if the two differ, or if this version does not know an annotation with the prefix.
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
        // Compared byte by byte, since Swift takes a dot and a combining character after it for one other character.
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

    /// Returns the first annotation, by name, that the two do not share byte by byte; nil if they are the same.
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

    /// Returns the annotations as runc copies them into the state.
    ///
    /// runc keeps them as `key=value`, with the bundle's path under the key `bundle`, and splits each at its first `=`.
    /// libcontainer/utils/utils.go, `Annotations`
    private static func asByRunc(_ annotations: [String: String]) -> [String: String] {
        var given: [String: String] = [:]
        for (key, value) in annotations {
            let parts = "\(key)=\(value)".split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts[0] != "bundle" { given[String(parts[0])] = String(parts[1]) }
        }
        return given
    }
}
