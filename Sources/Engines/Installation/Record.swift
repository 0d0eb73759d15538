import Crypto
import Glibc
import JSONText
import Platform

/// What an installation has changed, and nothing of what else is in a file: by it the former bytes come back.
///
/// A file at `/var/lib/container-vtpm/engines/<engine>.json`, of root alone.
struct Record: Equatable, Sendable {
    /// What was changed in one file.
    struct File: Equatable, Sendable {
        var path: String
        /// Whether there was none before.
        var isMade = false
        /// The folders that were made for it, the outermost first.
        var folders: [String] = []
        /// The SHA-256 of the file before and after, in hexadecimal digits.
        var before = ""
        var after = ""
        /// What was done to it, in order; nothing if all was there already.
        var splices: [Splice] = []
        /// The runtime that was the engine's default.
        var formerDefault: String?
        /// Whether CDI was switched on in it.
        var switchedCDIOn = false

        var former: FormerEntries { FormerEntries(defaultRuntime: formerDefault, switchedCDIOn: switchedCDIOn) }
    }

    var way: Way
    var files: [File]

    static func digest(_ bytes: [UInt8]) throws(Failure) -> String { Hexadecimal.encode(try SHA256.digest(bytes)) }

    /// The record as JSON.
    var text: [UInt8] {
        let quoted = JSONText.quoted
        func text(_ bytes: [UInt8]) -> String { quoted(String(decoding: bytes, as: UTF8.self)) }
        let files = files.map { file in
            let splices = file.splices.map {
                "{\"offset\": \($0.offset), \"removed\": \(text($0.removed)), \"inserted\": \(text($0.inserted))}"
            }
            return """
                    {"path": \(quoted(file.path)), "made": \(file.isMade), "before": \(quoted(file.before)),
                     "after": \(quoted(file.after)), "folders": [\(file.folders.map(quoted).joined(separator: ", "))],
                     "default": \(file.formerDefault.map(quoted) ?? "null"), "cdi": \(file.switchedCDIOn),
                     "splices": [\(splices.joined(separator: ", "))]}
                """
        }
        let body = files.joined(separator: ",\n")
        return Array("{\n  \"version\": 1, \"way\": \(quoted(way.rawValue)), \"files\": [\n\(body)\n  ]\n}\n".utf8)
    }

    init(way: Way, files: [File]) { (self.way, self.files) = (way, files) }

    /// Parses a record; errors call it `path`.
    init(parsing bytes: [UInt8], path: String) throws(Failure) {
        let root = try JSONText(parsing: bytes, path: path, limit: 1 << 20).root
        guard root["version"]?.integer == 1, let way = root["way"]?.string.flatMap(Way.init(rawValue:)),
            let files = root["files"]?.elements?.map(File.init), !files.contains(nil)
        else {
            throw Failure(
                "cannot read \(path)",
                because: "it is no record of this version's",
                hint: "rm \(path.shellWord)"
            )
        }
        self.init(way: way, files: files.compactMap { $0 })
    }
}

extension Record.File {
    fileprivate init?(_ value: JSONValue) {
        guard let path = value["path"]?.string, path.hasPrefix("/"), let isMade = value["made"]?.bool,
            let before = value["before"]?.string, let after = value["after"]?.string,
            let splices = value["splices"]?.elements?.map(Splice.init), !splices.contains(nil)
        else { return nil }
        // Earlier versions have recorded folders as engines' files spell them.
        self.init(path: EngineFiles.clean(path), isMade: isMade, before: before, after: after)
        self.splices = splices.compactMap { $0 }
        folders = (value["folders"]?.elements ?? []).compactMap(\.string)
        formerDefault = value["default"]?.string
        switchedCDIOn = value["cdi"]?.bool ?? false
    }
}

extension Splice {
    fileprivate init?(_ value: JSONValue) {
        guard let offset = value["offset"]?.integer, let removed = value["removed"]?.string,
            let inserted = value["inserted"]?.string
        else { return nil }
        self.init(offset: Int(offset), removed: Array(removed.utf8), inserted: Array(inserted.utf8))
    }
}
