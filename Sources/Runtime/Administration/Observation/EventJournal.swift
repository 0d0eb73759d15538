import Glibc
import Platform
import RuntimeControl

/// The events of our programs in the host's journal, by journalctl(1).
///
/// Files of a syslog daemon do not say who has written a line, so they are no source of events.
public struct EventJournal: Sendable {
    /// The directories of the journal; journald(8) keeps one on this host if either exists.
    var directories = ["/var/log/journal", "/run/log/journal"]
    /// The possible paths of journalctl(1).
    var programs = ["/usr/bin/journalctl", "/bin/journalctl"]
    /// The folder of our own programs; nil if it is not known, so that no executable is taken for one.
    var folder = (try? HostPaths.current())?.programs
    /// The timeout of journalctl(1), in milliseconds.
    var timeout = 60_000
    /// The number of bytes that are read at once; what follows is left to the next call.
    var byteLimit = 16 << 20

    /// Creates a reader of this host's journal.
    public init() {}

    /// The path of journalctl(1); nil if this host keeps no journal.
    var program: String? {
        guard directories.contains(where: { access($0, F_OK) == 0 }) else { return nil }
        return programs.first { access($0, X_OK) == 0 }
    }

    /// Whether this host keeps a journal that can be read; a directory without any has been left there.
    public var exists: Bool {
        program != nil
            && directories.contains { path in
                guard let directory = try? Descriptor.open(path, .directory) else { return false }
                return (try? entries(of: directory, path).isEmpty) == false
            }
    }

    /// Events in the order of the journal.
    public struct Batch: Equatable, Sendable {
        /// The events.
        public var events: [LoggedEvent] = []
        /// Where to go on; nil if nothing was there, nor before.
        public var cursor: String?
        /// Whether more may follow at once.
        public var hasMore = false
    }

    /// Reads the events after a cursor, or all; returns nil if this host keeps no journal.
    ///
    /// Time and memory are bounded: of a long journal the first part is read.
    public func read(after cursor: String?) throws(Failure) -> Batch? {
        guard exists, let program else { return nil }
        let printed: [UInt8]
        do throws(Failure) {
            let arguments = Self.arguments + Self.beginning(cursor)
            printed = try ProgramOutput.read(program, arguments, limit: byteLimit, timeout: timeout)
        } catch {
            throw Self.failure(because: error.description)
        }
        var batch = Batch(cursor: cursor, hasMore: printed.count == byteLimit)
        // A line that was cut belongs to the next call.
        guard let end = printed.lastIndex(of: UInt8(ascii: "\n")) else {
            guard printed.isEmpty else { throw Self.failure(because: "an entry is larger than \(byteLimit) bytes") }
            return batch
        }
        let lines = printed[..<end].split(separator: UInt8(ascii: "\n"))
        batch.events = lines.compactMap { LoggedEvent(journal: $0, programs: folder) }
        // Entries that are no events are passed over for good, however many there are.
        batch.cursor = lines.reversed().lazy.compactMap { LoggedEvent.cursor(journal: $0) }.first ?? cursor
        return batch
    }

    /// Calls `body` with each event after a cursor, or with each new one, until nobody reads from `output` any more.
    ///
    /// - Throws: ``Failure`` if this host keeps no journal, if journalctl(1) ends, or if `body` throws.
    public func follow(
        after cursor: String?,
        whileReadFrom output: CInt,
        _ body: (LoggedEvent) throws(Failure) -> Void
    ) throws(Failure) {
        guard exists, let program else { throw none }
        let arguments = Self.arguments + (cursor.map { ["--no-tail", "--after-cursor=\($0)"] } ?? ["--lines=0"])
        try ProgramOutput.follow(
            program,
            arguments + ["--follow"],
            limit: LoggedEvent.lineLimit,
            whileReadFrom: output
        ) { (line) throws(Failure) in
            if let event = LoggedEvent(journal: line, programs: folder) { try body(event) }
        }
    }

    /// The error where this host keeps no journal.
    public var none: Failure {
        Failure(
            "cannot read events",
            because: "there is no journal, and files do not say who has written a line",
            hint: "vtpmctl log reads the files"
        )
    }

    /// Returns whether a text has the form of a cursor, which goes into arguments and files.
    public static func isCursor(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 512
            && text.utf8.allSatisfy { byte in
                switch Unicode.Scalar(byte) {
                case "a"..."z", "A"..."Z", "0"..."9", "=", ";", "-": true
                default: false
                }
            }
    }

    /// `--all` for long messages, which would be left out.
    static let arguments =
        ["--quiet", "--no-pager", "--all", "--output=json"]
        + ["--output-fields=\(LoggedEvent.journalFields.joined(separator: ","))"]
        + LogLine.programs.map { "--identifier=\($0)" } + LoggedEvent.matches

    static func beginning(_ cursor: String?) -> [String] { cursor.map { ["--after-cursor=\($0)"] } ?? [] }

    static func failure(because why: String) -> Failure {
        Failure("cannot read the journal", because: why, hint: "run it by hand: journalctl -t vtpm-hook")
    }
}
