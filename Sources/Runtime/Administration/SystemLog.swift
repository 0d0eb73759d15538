import CLinux
import Glibc
import Platform

/// What our programs have written to the system log, for reading.
///
/// Each part of it that is read has a bound, and journalctl(1) has a deadline.
public struct SystemLog {
    /// Directories of which one is there when journald(8) keeps a journal on this host.
    var journals = ["/var/log/journal", "/run/log/journal"]
    /// Where journalctl(1) may be.
    var journalPrograms = ["/usr/bin/journalctl", "/bin/journalctl"]
    /// Files that syslog daemons write, an older one before the newer.
    var files = ["/var/log/syslog.1", "/var/log/syslog", "/var/log/messages.1", "/var/log/messages"]
    /// How long journalctl(1) may take, in milliseconds.
    var timeout = 60_000
    /// How many of our last lines in the journal are looked at.
    var lineLimit = 10_000
    /// How many bytes of a file's end, and of what journalctl(1) prints, are looked at.
    var byteLimit = 32 << 20

    /// The log of this host.
    public init() {}

    /// The lines about a container, or all of ours, the oldest first.
    ///
    /// - Parameter container: A container's ID, the first digits of one, or the ID of a state; nothing for all lines.
    /// - Returns: The lines, one at least.
    /// - Throws: ``Failure`` when no log can be read, or none has such a line.
    public func lines(about container: String?) throws(Failure) -> [String] {
        let what = "cannot find \(container.map { "lines about \"\($0)\"" } ?? "lines of ours") in the system log"
        var looked: [String] = []
        var problems: [Failure] = []
        for source in sources {
            do {
                guard let content = try read(source) else { continue }
                looked.append(source.name)
                let lines = content.split(separator: UInt8(ascii: "\n")).compactMap { LogLine($0) }
                let found = container.map { lines.about($0) } ?? lines
                // What two of them have is the same: a daemon that writes files gets its lines from the journal, or
                // distributes the same ones to several.
                if !found.isEmpty { return found.map(\.text.onOneLine) }
            } catch {
                problems.append(error)
            }
        }
        if let problem = problems.first {
            throw Failure(what, because: problem.description, hint: problem.hint == nil ? Self.hint : nil)
        }
        guard looked.isEmpty else {
            throw Failure(what, because: "there is none in \(looked.joined(separator: ", "))")
        }
        throw Failure(
            what,
            because: "there is no journal, and none of \(files.joined(separator: ", "))",
            hint: Self.hint
        )
    }

    private static let hint =
        "wherever this host's log is, our lines are those of " + LogLine.programs.joined(separator: " and ")

    /// A place that the lines may be in; files that are parts of one log are one.
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
        if journals.contains(where: { access($0, F_OK) == 0 }),
            let program = journalPrograms.first(where: { access($0, X_OK) == 0 })
        {
            sources.append(.journal(program: program))
        }
        for first in files.indices where first.isMultiple(of: 2) {
            sources.append(.files(files[first...].prefix(2).filter { access($0, F_OK) == 0 }))
        }
        return sources
    }

    /// What a source holds; nil if it is not there.
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
