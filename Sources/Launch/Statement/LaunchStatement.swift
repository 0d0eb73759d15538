import CryptoDigests
import CryptoPrimitives
import JSONText
import Platform
import RuntimeControl

/// What a container runs, in canonical JSON: the same for each container of an image and its configuration.
///
/// It has named members of `config.json` as the engine wrote it. runtime-spec, config.md and config-linux.md
public struct LaunchStatement: Equatable, Sendable {
    /// The text. RFC 8785
    public let bytes: [UInt8]

    /// The version of what a statement has.
    private static let version: Int64 = 1
    private static let type = "container-vtpm launch"

    /// Makes the statement about a container.
    ///
    /// - Parameters:
    ///   - config: The contents of its `config.json`.
    ///   - path: The file's path, for errors.
    ///   - names: Whose values are public.
    ///   - root: What is known of its root file system.
    /// - Throws: ``Failure`` if a member is not of the type that runtime-spec gives it, or has the name of another in another
    ///   case.
    public init(of config: [UInt8], path: String, _ names: PublicNames, root: RootContent) throws(Failure) {
        let text = try JSONText(parsing: config, path: path, limit: Self.configLimit)
        var description = ConfigDescription(names, root: root)
        bytes =
            CanonicalJSON.object(
                try description.members(of: text.root) + [
                    .init("type", .string(Self.type)), .init("version", .integer(Self.version)),
                ]
            ).bytes
    }

    /// The largest `config.json` that is read, in bytes.
    public static let configLimit = 16 << 20

    /// Takes over the text of a statement, such as a log has it.
    public init(text: [UInt8]) { bytes = text }

    /// The statement about a command on the host, of which nothing is said.
    public static var ofCommand: LaunchStatement {
        LaunchStatement(
            text: CanonicalJSON.members([
                "command": .string("not measured"), "type": .string(type), "version": .integer(version),
            ]).bytes
        )
    }

    /// The bytes that are measured and logged.
    ///
    /// - Throws: ``Failure`` if there are more of them than a TPM is given.
    public func event() throws(Failure) -> [UInt8] {
        let event = TaggedEvent.launch.encoded(bytes)
        guard event.count < TaggedEvent.sizeLimit else {
            throw Failure(
                "cannot measure the launch",
                because:
                    "the statement about the container has \(bytes.count) bytes, and \(TaggedEvent.sizeLimit) are the most",
                hint: "measure = false in [launch] creates it without"
            )
        }
        return event
    }
}

/// What is known of a container's root file system.
public enum RootContent: Equatable, Sendable {
    /// Nothing.
    case notMeasured
    /// The digest with which the kernel verifies it.
    case verified(VerifiedRoot)
    /// The SHA-256 of its tree (``TreeDigest``).
    case tree([UInt8])

    /// What is looked for.
    public enum Search: Sendable {
        /// A digest with which the kernel verifies it.
        case verification
        /// All of its tree, which is read.
        case tree
    }

    /// Looks for what can be known of the root that a bundle's `config.json` names; `check` is called meanwhile, and can end it.
    public static func find(
        _ search: Search,
        of config: [UInt8],
        path: String,
        bundle: String,
        check: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) -> RootContent {
        let text = try JSONText(parsing: config, path: path, limit: LaunchStatement.configLimit)
        guard let given = text.value(at: ["root", "path"])?.string, !given.isEmpty, !given.utf8.contains(0) else {
            throw Failure("cannot find the container's root filesystem", because: "\(path) has no root.path")
        }
        let root = given.utf8.first == UInt8(ascii: "/") ? given : "\(bundle)/\(given)"
        switch search {
        case .verification: return try VerifiedRoot.find(at: root).map { .verified($0) } ?? .notMeasured
        case .tree:
            let mounts = (text.root["mounts"]?.elements ?? []).compactMap { MountDestination($0) }
            return .tree(try TreeDigest.digest(of: root, mounts, check: check))
        }
    }

    var statement: CanonicalJSON {
        switch self {
        case .notMeasured: .string("not measured")
        case .verified(let root): root.statement
        case .tree(let digest): .members(["tree": .string("sha256:" + Hexadecimal.encode(digest))])
        }
    }
}
