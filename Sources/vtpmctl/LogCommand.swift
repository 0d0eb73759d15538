import ArgumentParser
import Platform
import RuntimeAdministration

/// `vtpmctl log`: the log lines about a container.
struct LogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log",
        abstract: "Shows what the hook and the supervisor have logged about a container.",
        discussion: """
            It looks in the journal, and where there is none, or nothing in it, in /var/log/syslog and /var/log/messages. \
            crun shows nothing of what a hook says: why a container was refused is here. It fails when no log can be \
            read, or none has a line about the container.
            """
    )

    @Argument(help: "The container's ID, eight or more of its first digits, or its state's ID; all lines without it.")
    var container: String?

    func run() throws {
        try report { () throws(Failure) in
            try Output.write(lines: SystemLog().lines(about: container))
        }
    }
}
