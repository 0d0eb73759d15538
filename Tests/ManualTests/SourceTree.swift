import Foundation

/// The files of this repository, by paths below its root.
enum SourceTree {
    // Tests/ManualTests/SourceTree.swift
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static func text(of path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appending(path: path).path)
    }

    /// Returns the files of a folder and its folders with one of these endings, sorted.
    static func files(below folder: String, ending endings: [String]) -> [String] {
        let start = root.appending(path: folder)
        let all = FileManager.default.enumerator(atPath: start.path)?.compactMap { $0 as? String } ?? []
        return all.filter { path in endings.contains { path.hasSuffix($0) } }.map { "\(folder)/\($0)" }.sorted()
    }

    /// Returns what is written for those who use or change the programs, but for the pages of the manual.
    static func documents() -> [String] {
        ["README.md", "CONTRIBUTING.md", "SECURITY.md"] + files(below: "docs", ending: [".md"])
    }

    /// Returns the names of the programs that are installed.
    static func programs() throws -> [String] {
        try text(of: "Package.swift").matches(of: /\.executable\(name: "([^"]+)"/).map { String($0.1) }
    }
}
