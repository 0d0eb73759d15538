import ArgumentParser
import CLinux
import FoundationEssentials
import Glibc
import Platform

/// Standard output, every write of which is checked: a script must not take half a list for a whole one.
///
/// Swift's `print` and stdio keep what is written until the end, and tell nobody when it could not be written.
enum Output {
    private static let name = "standard output"
    /// Whether its reader, `head` for example, has had enough: that is nothing to complain of.
    nonisolated(unsafe) private(set) static var isClosed = false

    /// Writes lines, all in one go.
    static func write(lines: [String]) throws(Failure) {
        try write(Array(lines.joined(separator: "\n").utf8) + (lines.isEmpty ? [] : [UInt8(ascii: "\n")]))
    }

    /// Writes a line.
    static func write(line: String) throws(Failure) { try write(lines: [line]) }

    /// Writes a value as JSON, its keys in order.
    static func write(json value: some Encodable) throws(Failure) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let encoded: Data
        do {
            encoded = try encoder.encode(value)
        } catch {
            throw Failure("cannot write JSON", because: "\(error)")
        }
        try write(Array(encoded) + [UInt8(ascii: "\n")])
    }

    /// Writes rows in columns, the first row being their headings.
    static func write(table rows: [[String]]) throws(Failure) {
        let cells = rows.map { $0.map(\.onOneLine) }
        let widths = (cells.first ?? []).indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        try write(
            lines: cells.map { row in
                let padded = zip(row, widths).map { cell, width in
                    cell + String(repeating: " ", count: width - cell.count)
                }
                let line = padded.joined(separator: "  ")
                let end = line.lastIndex { $0 != " " }.map { line.index(after: $0) } ?? line.startIndex
                return String(line[..<end])
            }
        )
    }

    /// Writes bytes that are no text, such as an export: not to a terminal, which would act on some of them.
    static func write(_ content: SecretBytes) throws(Failure) {
        guard isatty(STDOUT_FILENO) != 1 else {
            throw Failure("cannot write \(name)", because: "it is a terminal", hint: "name a file, or redirect it")
        }
        try content.withBytes { (bytes) throws(Failure) in
            try write { (output) throws(Failure) in
                try output.writeAll(bytes, name)
                // A file is on stable storage before anybody relies on it; nothing else can be synced.
                if try output.status(name).st_mode & S_IFMT == S_IFREG { try output.synchronize(name) }
            }
        }
    }

    private static func write(_ bytes: [UInt8]) throws(Failure) {
        try write { (output) throws(Failure) in try output.writeAll(bytes, name) }
    }

    private static func write(_ body: (borrowing Descriptor) throws(Failure) -> Void) throws(Failure) {
        do {
            let number = try systemCall("fcntl F_DUPFD_CLOEXEC", "cannot write \(name)") {
                fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
            }
            try body(Descriptor(owning: number))
        } catch {
            isClosed = error.code == EPIPE
            throw error
        }
    }
}

/// Does what a command is for; a failure is one line on standard error and the exit code 1.
func report(_ body: () throws(Failure) -> Void) throws {
    do throws(Failure) {
        try body()
    } catch {
        if !Output.isClosed { complain("vtpmctl: \(error)") }
        throw ExitCode.failure
    }
}

/// Writes to standard error; where that cannot be written, there is nobody left to tell.
func complain(_ text: String, end: String = "\n") {
    let line = Array((text + end).utf8)
    _ = write(STDERR_FILENO, line, line.count)
}
