import Foundation
import Testing

/// docs/proof.md, whose commands tests run as they stand there.
enum ProofPage {
    /// The commands below a heading, up to the next one.
    static func commands(below heading: String) throws -> String {
        let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../../docs/proof.md").standardizedFileURL
        let text = try String(contentsOf: page, encoding: .utf8)
        let parts = text.components(separatedBy: "\(heading)\n")
        try #require(parts.count == 2)
        let section = try #require(parts[1].components(separatedBy: "\n#").first)
        let lines = section.split(separator: "\n").filter { $0.hasPrefix("    ") }.map { String($0.dropFirst(4)) }
        try #require(lines.count > 5)
        return lines.joined(separator: "\n")
    }
}
