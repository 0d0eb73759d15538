import ArgumentParser
import CLinux
import FoundationEssentials
import Glibc
import Platform

/// Standard output, of which every write is checked: a script must not take half a list for a whole one.
///
/// Swift's `print` and stdio buffer the output until the end, and do not report whether it could be written.
enum Output {
    private static let name = "standard output"
    /// Whether the reader has closed its end, as `head` does; that is not worth an error message.
    nonisolated(unsafe) private(set) static var isClosed = false

    /// Writes lines as one buffer, each with a line feed.
    static func write(lines: [String]) throws(Failure) {
        try write(Array(lines.joined(separator: "\n").utf8) + (lines.isEmpty ? [] : [UInt8(ascii: "\n")]))
    }

    /// Writes a line with a line feed.
    static func write(line: String) throws(Failure) { try write(lines: [line]) }

    /// Writes a text that ends in a line feed.
    static func write(text: String) throws(Failure) { try write(Array(text.utf8)) }

    /// Writes a value as JSON, with sorted keys and a line feed at the end.
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

    /// Writes rows in aligned columns; the first row has the headings.
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

    /// Writes binary data, such as an export; throws if standard output is a terminal, which would interpret some
    /// bytes.
    static func write(_ content: SecretBytes) throws(Failure) {
        try refuseTerminal()
        try content.withBytes { (bytes) throws(Failure) in
            try write { (output) throws(Failure) in
                try output.writeAll(bytes, name)
                // A file must be on stable storage before anybody relies on it; pipes and devices cannot be synced.
                if try output.status(name).st_mode & S_IFMT == S_IFREG { try output.synchronize(name) }
            }
        }
    }

    private static func refuseTerminal() throws(Failure) {
        guard isatty(STDOUT_FILENO) != 1 else {
            throw Failure("cannot write \(name)", because: "it is a terminal", hint: "name a file, or redirect it")
        }
    }

    /// Writes binary data that is no secret, as ``write(_:)`` does.
    static func write(binary bytes: [UInt8]) throws(Failure) {
        try refuseTerminal()
        try write(bytes)
    }

    private static func write(_ bytes: [UInt8]) throws(Failure) {
        try write { (output) throws(Failure) in try output.writeAll(bytes, name) }
    }

    private static func write(_ body: (borrowing Descriptor) throws(Failure) -> Void) throws(Failure) {
        Progress.clear()
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

/// Runs a command; if it fails, writes the error as one line to standard error, and throws the exit code 1.
///
/// Nothing is written if the reader of standard output has closed its end. While it runs, ``Progress`` says what it does.
func report(_ doing: String, _ body: () throws(Failure) -> Void) throws {
    Progress.begin(doing)
    defer { Progress.end() }
    do throws(Failure) {
        try body()
    } catch {
        if !Output.isClosed { complain("vtpmctl: \(error)") }
        throw ExitCode.failure
    }
}

/// Writes to standard error; an error is ignored, since there is nobody left to report it to.
func complain(_ text: String, end: String = "\n") {
    Progress.clear()
    let line = Array((text + end).utf8)
    _ = write(STDERR_FILENO, line, line.count)
}
