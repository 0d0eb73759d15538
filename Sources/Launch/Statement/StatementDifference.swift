import JSONText
import Platform

/// A member in which two statements differ, by the names that lead to it.
public struct StatementDifference: Equatable, Sendable {
    /// The names, with dots between them; the elements of an array have numbers from 0 on.
    public let path: String
    /// The value in the first statement, in canonical JSON; nil if it has none there.
    public let first: String?
    /// The value in the second statement.
    public let second: String?

    /// Returns all differences of two statements, none if they are the same.
    public static func all(
        _ first: LaunchStatement,
        _ second: LaunchStatement
    ) throws(Failure) -> [StatementDifference] {
        let limit = LaunchStatement.configLimit
        let texts = (
            try JSONText(parsing: first.bytes, path: "the first statement", limit: limit),
            try JSONText(parsing: second.bytes, path: "the second statement", limit: limit)
        )
        return differences("", texts.0.root, texts.1.root)
    }

    /// Returns each value of a statement that is no object and no array, with the names that lead to it.
    fileprivate static func leaves(_ path: String, _ value: JSONValue) -> [(path: String, value: String)] {
        switch value.kind {
        case .object(let members):
            return members.flatMap { leaves(path.isEmpty ? $0.name : "\(path).\($0.name)", $0.value) }
        case .array(let elements):
            return elements.enumerated().flatMap { leaves("\(path).\($0.offset)", $0.element) }
        default: return [(path, String(decoding: CanonicalJSON(value).bytes, as: UTF8.self))]
        }
    }

    private static func differences(_ path: String, _ one: JSONValue?, _ other: JSONValue?) -> [StatementDifference] {
        switch (one?.kind, other?.kind) {
        case (.object(let members), .object(let others)):
            // By their bytes: two names that Unicode takes for the same are two.
            let names = (members + others).map(\.name).asSet
            return names.flatMap { name in
                differences(path.isEmpty ? name : "\(path).\(name)", one?[name], other?[name])
            }
        case (.array(let elements), .array(let others)):
            return (0..<max(elements.count, others.count)).flatMap { index in
                differences(
                    "\(path).\(index)",
                    index < elements.count ? elements[index] : nil,
                    index < others.count ? others[index] : nil
                )
            }
        default:
            let texts = (one.map { CanonicalJSON($0).bytes }, other.map { CanonicalJSON($0).bytes })
            guard texts.0 != texts.1 else { return [] }
            return [
                StatementDifference(
                    path: path,
                    first: texts.0.map { String(decoding: $0, as: UTF8.self) },
                    second: texts.1.map { String(decoding: $0, as: UTF8.self) }
                )
            ]
        }
    }
}

extension LaunchStatement {
    /// Returns a line for each value, with the names that lead to it.
    public func lines() throws(Failure) -> [String] {
        let text = try JSONText(parsing: bytes, path: "the statement", limit: Self.configLimit)
        return StatementDifference.leaves("", text.root).map { "\($0.path): \($0.value)" }
    }
}
