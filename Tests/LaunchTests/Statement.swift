import Foundation
import JSONText
import Launch
import Platform
import Testing

/// The names that the tests take for public.
let publicNames = PublicNames(environment: ["PATH", "LC_*"], annotations: ["run.oci.*"])

/// A file by its path from this file's folder.
func file(_ path: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(path))
}

/// A text of a fixture beside this file.
func fixture(_ name: String) throws -> String { String(decoding: try file("Fixtures/\(name)"), as: UTF8.self) }

/// The statement about a container with this `config.json`.
func statement(_ config: String, root: RootContent = .notMeasured) throws -> LaunchStatement {
    try LaunchStatement(of: Array(config.utf8), path: "config.json", publicNames, root: root)
}

/// The text of a statement.
func text(_ statement: LaunchStatement) -> String { String(decoding: statement.bytes, as: UTF8.self) }

/// The paths in which two statements differ.
func differences(_ one: LaunchStatement, _ other: LaunchStatement) throws -> [String] {
    try StatementDifference.all(one, other).map(\.path)
}
