import ArgumentParser
import Platform
import RuntimeAdministration

/// `vtpmctl log`: the log lines about a container.
struct LogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log",
        abstract: "Shows what was logged about a container, and what helps if it did not start.",
        discussion: """
            It looks in the journal, and where there is none, or nothing in it, in /var/log/syslog and /var/log/messages. \
            crun shows nothing of what a hook says: why a container was refused is here. It fails when no log can be \
            read, or none has a line about the container.
            """
    )

    @Argument(
        help: "The container's ID, eight or more of its first digits, or its state's ID; all lines without it.",
        completion: .containers
    )
    var container: String?

    @Flag(help: "Print each line as the log has it, with the host, the process and the fields for programs.")
    var raw = false

    func run() throws {
        try report("reading the log") { () throws(Failure) in
            let lines = try SystemLog().lines(about: container)
            if raw { return try Output.write(lines: lines.map(\.raw)) }
            try Output.write(lines: lines.map(\.words))
            // Of all containers, the last line says nothing of the others.
            if container != nil, let advice = lines.last(where: \.isOutcome)?.advice { try Output.write(line: advice) }
        }
    }
}
