import CLinux
import Glibc
import Platform

/// The messages of our programs in the system log.
///
/// Each source is read up to a limit, and journalctl(1) has a timeout.
public struct SystemLog {
    /// Where the journal is, and what reads it.
    var journal = EventJournal()
    /// The files of syslog daemons in pairs, the older one first.
    var files = ["/var/log/syslog.1", "/var/log/syslog", "/var/log/messages.1", "/var/log/messages"]
    /// The timeout of journalctl(1), in milliseconds.
    var timeout = 60_000
    /// The number of our last lines in the journal that are read.
    var lineLimit = 10_000
    /// The number of bytes that are read of the end of a file, and of the output of journalctl(1).
    var byteLimit = 32 << 20

    /// Creates a reader of this host's log.
    public init() {}

    /// Returns the lines about a container, or all of ours, the oldest first.
    ///
    /// - Parameter container: The ID of a container, the first digits of one, or the ID of a state; nil for all lines.
    /// - Returns: The lines, at least one.
    /// - Throws: ``Failure`` if no log can be read, or if none has such a line.
    public func lines(about container: String?) throws(Failure) -> [LogLine] {
        let what = "cannot find \(container.map { "lines about \"\($0)\"" } ?? "lines of ours") in the system log"
        var looked: [String] = []
        var problems: [Failure] = []
        for source in sources {
            do {
                guard let content = try read(source) else { continue }
                looked.append(source.name)
                let lines = content.split(separator: UInt8(ascii: "\n")).compactMap { LogLine($0) }
                let found = container.map { lines.about($0) } ?? lines
                // Two sources have the same lines: a daemon that writes files gets them from the journal, or
                // distributes the same ones to several files.
                if !found.isEmpty { return found }
            } catch {
                problems.append(error)
            }
        }
        if let problem = problems.first {
            throw Failure(what, because: problem.description, hint: problem.hint == nil ? Self.hint : nil)
        }
        guard looked.isEmpty else {
            throw Failure(
                what,
                because: "there is none in \(looked.joined(separator: ", "))",
                hint: container.map { _ in "a container is known here by its ID, and not by its engine's name for it" }
            )
        }
        throw Failure(
            what,
            because: "there is no journal, and none of \(files.joined(separator: ", "))",
            hint: Self.hint
        )
    }

    private static let hint =
        "wherever this host's log is, our lines are those of " + LogLine.programs.joined(separator: ", ")

    /// A source of lines; the files that are parts of one log are one source.
    private enum Source {
        case journal(program: String)
        case files([String])

        var name: String {
            switch self {
            case .journal: "the journal"
            case .files(let paths): paths.joined(separator: ", ")
            }
        }
    }

    private var sources: [Source] {
        var sources: [Source] = []
        if let program = journal.program { sources.append(.journal(program: program)) }
        for first in files.indices where first.isMultiple(of: 2) {
            sources.append(.files(files[first...].prefix(2).filter { access($0, F_OK) == 0 }))
        }
        return sources
    }

    /// Reads a source; returns nil if it does not exist.
    private func read(_ source: Source) throws(Failure) -> [UInt8]? {
        switch source {
        case .journal(let program): return try readJournal(program)
        case .files(let paths):
            var content: [UInt8]?
            for path in paths { content = try (content ?? []) + readEnd(of: path) }
            return content
        }
    }

    private func readEnd(of path: String) throws(Failure) -> [UInt8] {
        let file = try Descriptor.openFile(path, .read)
        let status = try file.status(path)
        let number = file.number
        let start = max(Int(status.st_size) - byteLimit, 0)
        try systemCall("lseek", "cannot read \(path)") { lseek(number, off_t(start), SEEK_SET) }
        return try ProgramOutput.readLimited(
            number,
            path,
            limit: byteLimit,
            timeout: timeout
        )
    }

    private func readJournal(_ program: String) throws(Failure) -> [UInt8] {
        let arguments =
            ["--quiet", "--no-pager", "--output=short-iso", "--lines=\(lineLimit)"]
            + LogLine.programs.map { "--identifier=\($0)" }
        do throws(Failure) {
            return try ProgramOutput.read(program, arguments, limit: byteLimit, timeout: timeout)
        } catch {
            throw Failure(
                "cannot read the journal",
                because: error.description,
                hint: "run it by hand: journalctl -t vtpm-hook"
            )
        }
    }
}
