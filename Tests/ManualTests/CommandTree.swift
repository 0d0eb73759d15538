import Foundation
import Testing

/// The commands that `vtpmctl` knows, as the program itself prints them.
struct CommandTree {
    /// A command without commands below it.
    struct Command {
        /// Its words, `vtpmctl` first.
        let path: [String]
        let options: Set<String>
        let positionals: [String]
        /// Options and arguments that `--help` lists without a word about them.
        let unexplained: [String]

        var name: String { path.joined(separator: " ") }
    }

    private struct Dump: Decodable {
        let command: Node
    }

    private struct Node: Decodable {
        let commandName: String
        let abstract: String?
        let arguments: [Parameter]?
        let subcommands: [Node]?
    }

    private struct Parameter: Decodable {
        struct Name: Decodable {
            let name: String
        }

        let kind: String
        let names: [Name]?
        let valueName: String
        let abstract: String?
        let shouldDisplay: Bool
    }

    let commands: [Command]
    /// The names of commands that have commands below them.
    let groups: Set<String>

    /// Asks the program.
    init() throws {
        var commands: [Command] = []
        var groups: Set<String> = []
        func visit(_ node: Node, _ parents: [String]) {
            let path = parents + [node.commandName]
            if let subcommands = node.subcommands, !subcommands.isEmpty {
                groups.insert(path.joined(separator: " "))
                for subcommand in subcommands { visit(subcommand, path) }
            } else {
                commands.append(Self.command(node, path))
            }
        }
        let printed = try Self.output(["--experimental-dump-help"])
        visit(try JSONDecoder().decode(Dump.self, from: printed).command, [])
        self.commands = commands
        self.groups = groups
    }

    private static func command(_ node: Node, _ path: [String]) -> Command {
        let shown = (node.arguments ?? []).filter(\.shouldDisplay)
        let silent = shown.filter { ($0.abstract ?? "").isEmpty }.map(\.valueName)
        return Command(
            path: path,
            options: Set(shown.flatMap { $0.names ?? [] }.map(\.name)).subtracting(["h", "help"]),
            positionals: shown.filter { $0.kind == "positional" }.map(\.valueName),
            unexplained: silent.filter { $0 != "subcommands" } + ((node.abstract ?? "").isEmpty ? ["itself"] : [])
        )
    }

    /// Returns what `vtpmctl` prints.
    static func output(_ arguments: [String]) throws -> Data {
        let process = Process()
        // The tests' own program is beside it.
        let folder = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        process.executableURL = folder.appending(path: "vtpmctl")
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return data
    }
}
