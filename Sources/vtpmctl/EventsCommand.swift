import ArgumentParser
import Glibc
import Platform
import RuntimeAdministration

/// `vtpmctl events`: what has happened to containers' TPMs, for programs.
struct EventsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events",
        abstract: "Prints what has happened to containers' TPMs, for programs.",
        discussion: """
            Reads what our programs have logged to the journal as root; nobody else's lines count. An object of --json is \
            one line; its "cursor" is where --after goes on. docs/log.md has the events and their members.
            """
    )

    @Flag(help: "Print a JSON object for each event.")
    var json = false
    @Flag(help: "Keep printing new events until the reader goes away; without --after, print only new ones.")
    var follow = false
    @Option(help: ArgumentHelp("Print the events after this one.", valueName: "cursor"))
    var after: String?

    func validate() throws {
        guard after.map(EventJournal.isCursor) ?? true else {
            throw ValidationError("--after takes the \"cursor\" of an event.")
        }
    }

    func run() throws {
        try report("reading the journal") { () throws(Failure) in
            let journal = EventJournal()
            if follow {
                Progress.end()
                return try journal.follow(after: after, whileReadFrom: STDOUT_FILENO) { (event) throws(Failure) in
                    try Output.write(line: line(event))
                }
            }
            var cursor = after
            while true {
                guard let batch = try journal.read(after: cursor) else { throw journal.none }
                try Output.write(lines: batch.events.map(line))
                guard batch.hasMore, batch.cursor != cursor else { return }
                cursor = batch.cursor
            }
        }
    }

    private func line(_ event: LoggedEvent) -> String {
        json ? event.json : "\(timestamp(event.time / 1_000_000))  \(event.fields.event): \(event.text)"
    }
}
