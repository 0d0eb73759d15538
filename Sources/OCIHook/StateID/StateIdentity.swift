import Configuration
import Platform
import RuntimeState

/// The identity of the state of a container's TPM.
///
/// A state ID is made of the container's ID, or of a name from an annotation. In IDs, names and namespaces, `%` and `/`
/// are written as `%25` and `%2F`. With a scope, a name becomes `<scope>/<namespace>/<name>`. A container's ID becomes
/// `<scope>/<namespace>/id/<ID>`, since it is unique in each namespace only. A container of a pod can have the ID that
/// ``pod(of:_:_:_:)`` makes of its names. So no two containers, names or namespaces share a state ID.
public enum StateIdentity: Equatable, Sendable {
    /// A state on disk.
    ///
    /// `formerly` is the ID that versions without scopes for container IDs gave to the same state.
    case persistent(stateID: String, formerly: String? = nil)
    /// No state: the TPM is gone when the container stops.
    case ephemeral

    /// The state's ID; nil for an ephemeral TPM.
    var stateID: String? { if case .persistent(let stateID, _) = self { stateID } else { nil } }

    /// Decides it from the container's ID, its annotations and the operator's configuration.
    ///
    /// With `state.id = "pod"`, `bundle` must be the evidence that the CRI engine made the container.
    ///
    /// - Throws: ``Failure`` if an annotation is not allowed, or if the state ID would be empty or too long.
    static func decide(
        containerID: String,
        annotations: Annotations,
        allowed: Configuration.State,
        bundle: CRIBundle? = nil
    ) throws(Failure) -> StateIdentity {
        let name = annotations[.stateID]
        switch annotations[.state] {
        case "ephemeral":
            guard allowed.allowsEphemeral else {
                throw refusal(of: .state, "the configuration does not allow \"ephemeral\"", "state.ephemeral = true")
            }
            guard name == nil else {
                throw refusal(of: .stateID, "\(Annotations.Key.state.rawValue) is \"ephemeral\", which has no state")
            }
            return .ephemeral
        case nil, "persistent": break
        case .some(let value):
            throw refusal(of: .state, "\"\(value.excerpt)\" is neither \"persistent\" nor \"ephemeral\"")
        }
        guard name == nil || allowed.source == .annotation else {
            throw refusal(
                of: .stateID,
                "the configuration does not let annotations name a state",
                "state.id = \"annotation\""
            )
        }
        guard allowed.source != .pod else {
            return .persistent(stateID: try pod(of: containerID, annotations, allowed.scope, bundle))
        }
        let source = name == nil ? "the container's ID" : "the annotation \(Annotations.Key.stateID.rawValue)"
        let plain = try checked([name ?? containerID], source)
        guard allowed.source == .annotation, let annotation = allowed.scope.annotation else {
            return .persistent(stateID: plain)
        }
        guard let namespace = annotations[annotation], !namespace.utf8.isEmpty else {
            let why = "the annotation \(annotation), which scopes it, is missing or empty"
            let hint = "state.scope must be the engine that made the container"
            throw name == nil
                ? Failure("cannot tell whose state \"\(containerID.excerpt)\" is", because: why, hint: hint)
                : refusal(of: .stateID, why, hint)
        }
        let scope = [allowed.scope.rawValue, namespace]
        guard name == nil else { return .persistent(stateID: try checked(scope + [name ?? ""], source)) }
        return .persistent(stateID: try checked(scope + ["id", containerID], source), formerly: plain)
    }

    /// Returns the state ID of the escaped parts, joined by slashes.
    ///
    /// Throws if a part is empty or holds a zero byte, or if the ID is too long.
    static func checked(_ parts: [String], _ source: String) throws(Failure) -> String {
        let what = "cannot use \"\((parts.last ?? "").excerpt)\" as a state ID"
        guard parts.allSatisfy({ !$0.utf8.isEmpty }) else { throw Failure(what, because: "\(source) is empty") }
        guard !parts.contains(where: { $0.utf8.contains(0) }) else {
            throw Failure(what, because: "\(source) holds a zero byte")
        }
        let stateID = parts.map(escaped).joined(separator: "/")
        guard stateID.utf8.count <= StateDirectoryName.identifierLimit else {
            throw Failure(
                what,
                because:
                    "\(source) makes it \(stateID.utf8.count) bytes long, more than \(StateDirectoryName.identifierLimit)"
            )
        }
        return stateID
    }

    /// Escaped byte by byte, since Swift takes `%` and a combining character after it for one other character.
    private static func escaped(_ part: String) -> String {
        var bytes: [UInt8] = []
        for byte in part.utf8 {
            switch Unicode.Scalar(byte) {
            case "%": bytes.append(contentsOf: "%25".utf8)
            case "/": bytes.append(contentsOf: "%2F".utf8)
            default: bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func refusal(of key: Annotations.Key, _ why: String, _ hint: String? = nil) -> Failure {
        Failure("cannot obey the annotation \(key.rawValue)", because: why, hint: hint)
    }
}
