import FoundationEssentials
import Glibc
import Platform
import RuntimeState

/// The state of a container, as the runtime writes it to a hook's standard input. runtime-spec, runtime.md, "State"
///
/// All other members are ignored, since runtimes add some of their own.
public struct ContainerState: Decodable, Equatable, Sendable {
    /// The container's ID.
    public let id: String
    /// The init's process ID in the hook's PID namespace; nil or 0 once it has ended.
    public let pid: Int32?
    /// The bundle's absolute path.
    public let bundle: String
    /// The container's annotations.
    public let annotations: [String: String]?
    /// `root.path` of its configuration; nil if the runtime does not pass it.
    ///
    /// crun does. runtime-spec has no such member.
    let root: OptionalText?

    /// The largest state that is read, in bytes.
    static let sizeLimit = 1 << 20
    /// The longest container ID, in bytes.
    static let identifierLimit = 4096

    /// The timeout for the runtime to write a state and close its end of the pipe, in milliseconds.
    public static let timeout = 10_000

    /// Reads a state up to the end of the input, and checks it; the timeout is in milliseconds.
    public init(reading input: borrowing Descriptor, timeout: Int = ContainerState.timeout) throws(Failure) {
        try self.init(parsing: Self.read(input, timeout: timeout))
    }

    /// Reads a state's JSON, up to the end of the input.
    ///
    /// Only the end of the input shows that the state is complete. The timeout, in milliseconds, is for a runtime that
    /// leaves the pipe open.
    static func read(
        _ input: borrowing Descriptor,
        timeout: Int = ContainerState.timeout
    ) throws(Failure) -> [UInt8] {
        let what = "the container's state"
        do {
            return try input.readAll(limit: sizeLimit, what, until: Deadline(milliseconds: timeout))
        } catch let error where error.code == ETIMEDOUT {
            throw Failure(
                "cannot read \(what)",
                because: "standard input was not closed within \(timeout / 1000) s",
                hint: "the runtime has to close it after the state; see that no other process has its end of the pipe"
            )
        }
    }

    /// Returns the ID for the log, even if all other members are wrong; nil if there is none.
    static func identifier(in json: [UInt8]) -> String? {
        struct Identified: Decodable {
            let id: String
        }
        return try? JSONDecoder().decode(Identified.self, from: Data(json)).id
    }

    /// Parses a state.
    ///
    /// - Throws: ``Failure`` if it is no OCI state, if the ID is empty, too long or holds a zero byte, or if the bundle
    ///   is not an absolute path.
    public init(parsing json: [UInt8]) throws(Failure) {
        let what = "cannot read the container's state"
        guard !json.isEmpty else { throw Failure(what, because: "standard input is empty or closed") }
        do {
            self = try JSONDecoder().decode(ContainerState.self, from: Data(json))
        } catch {
            throw Failure(what, because: "standard input is not an OCI state in JSON: \(explanation(of: error))")
        }
        guard !id.isEmpty, id.utf8.count <= Self.identifierLimit, !id.utf8.contains(0) else {
            throw Failure(what, because: "its id is empty, too long or holds a zero byte")
        }
        guard bundle.hasPrefix("/"), !bundle.utf8.contains(0) else {
            throw Failure(what, because: "its bundle is not an absolute path")
        }
    }
}

extension ContainerState {
    /// Creates the state that a runtime will give to the hook of a container with this configuration.
    init(of id: String, bundle: String, _ config: BundleConfig) throws(Failure) {
        guard !id.isEmpty, id.utf8.count <= Self.identifierLimit, bundle.utf8.first == UInt8(ascii: "/") else {
            throw Failure("cannot prepare a TPM", because: "the container's ID or bundle is malformed")
        }
        self.id = id
        self.bundle = bundle
        pid = nil
        annotations = config.annotations
        root = nil
    }
}

extension ContainerState {
    /// Creates the state that stands for a command on the host, which has neither a container nor a bundle.
    ///
    /// Its ID is unique for as long as it runs. What counts as its bundle is never gone, so a state that only commands have
    /// used is no orphan.
    init(ofCommand process: pid_t) {
        id = "run-\(process)"
        bundle = IndexEntry.commandBundle
        pid = process
        annotations = nil
        root = nil
    }
}

/// A member outside of the specification; its value is nil if it is not a string.
struct OptionalText: Decodable, Equatable, Sendable {
    let value: String?

    init(from decoder: any Decoder) throws {
        value = try? decoder.singleValueContainer().decode(String.self)
    }
}

/// Returns a decoding error on one line, without the content that caused it.
func explanation(of error: any Error) -> String {
    switch error {
    case DecodingError.keyNotFound(let key, _): "\"\(key.stringValue)\" is missing"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
        "\"\(context.codingPath.map(\.stringValue).joined(separator: "."))\" is of the wrong type"
    default: "it is malformed"
    }
}
