import ArgumentParser
import Configuration
import Crypto
import CryptoDigests
import Glibc
import Launch
import OCIHook
import Platform
import VTPMProxy

/// `vtpmctl launch`: what of a container's launch is measured into its TPM.
struct LaunchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "launch",
        abstract: "Shows, predicts and compares what is measured of a container's launch.",
        subcommands: [LaunchPredict.self, LaunchShow.self, LaunchDiff.self]
    )
}

struct LaunchPredict: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict",
        abstract: "Prints what a bundle's launch will be measured as, without running anything.",
        discussion: """
            PCR 17 is the same for each container of an image and its configuration, on each host with the same [launch] in \
            the configuration. PCRs 18 and 8 name the instance and the run, and cannot be predicted.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The bundle's directory.", completion: .directory)
    var bundle: String
    @Flag(help: "Print the statement that is measured, a JSON object.")
    var statement = false

    func run() throws {
        try report("reading the bundle") { () throws(Failure) in
            let predicted = try host.statement(ofBundle: bundle)
            guard !statement else { return try Output.write(statement: predicted.bytes) }
            try Output.write(table: [["PCR", "BANK", "VALUE"]] + rows(LaunchPCR.launch, predicted.event()))
        }
    }
}

struct LaunchShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Shows what was measured when a container was launched.",
        discussion: """
            From the host's own copy of the event log. The container has the same bytes in /dev/launch.eventlog.
            """
    )

    /// What is printed alone.
    enum Part: String, CaseIterable, ExpressibleByArgument {
        case statement
        case instance
        case log
    }

    @OptionGroup var host: HostOptions
    @Argument(help: "The container's ID.", completion: .containers)
    var container: String
    @Option(
        name: .customLong("print"),
        help: "Print one part alone: the statement about what runs, that about the instance, or the event log itself."
    )
    var part: Part?

    func run() throws {
        try report("reading the launch log") { () throws(Failure) in
            let log = try host.launchLog(of: container)
            switch part {
            case .statement: try Output.write(statement: log.launchStatement)
            case .instance: try Output.write(statement: log.instanceStatement)
            case .log: try Output.write(binary: log.encoded())
            case nil:
                var table = [["PCR", "BANK", "VALUE"]]
                for (pcr, event) in [(LaunchPCR.launch, log.launch), (LaunchPCR.instance, log.instance)] {
                    table += try rows(pcr, event)
                }
                try Output.write(table: table)
                for text in [log.launchStatement, log.instanceStatement] {
                    try Output.write(lines: LaunchStatement(text: text).lines().map(\.onOneLine))
                }
            }
        }
    }
}

struct LaunchDiff: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Says in which members two launches differ.",
        discussion: """
            Each is a container's ID, or a path with a slash: of a bundle's directory, of an event log, or of a statement. It \
            exits with 1 if they differ.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The first launch.", completion: .containers)
    var first: String
    @Argument(help: "The second launch.", completion: .containers)
    var second: String

    func run() throws {
        var isSame = true
        try report("comparing the launches") { () throws(Failure) in
            let differences = try StatementDifference.all(
                host.statement(named: first),
                host.statement(named: second)
            )
            isSame = differences.isEmpty
            try Output.write(
                lines: differences.map { difference in
                    "\(difference.path): \(difference.first ?? "nothing") and \(difference.second ?? "nothing")"
                        .onOneLine
                }
            )
        }
        if !isSame { throw ExitCode.failure }
    }
}

extension Output {
    /// Writes a statement and a line feed; on a terminal without what a terminal would obey, for a tenant has written parts of it.
    fileprivate static func write(statement: [UInt8]) throws(Failure) {
        let text = String(decoding: statement, as: UTF8.self)
        try write(line: isatty(STDOUT_FILENO) == 1 ? text.onOneLine : text)
    }
}

/// The values of a PCR in each bank after one event.
private func rows(_ pcr: UInt32, _ event: [UInt8]) throws(Failure) -> [[String]] {
    var rows: [[String]] = []
    for algorithm in DigestAlgorithm.allCases {
        let value = try LaunchLog.value(after: event, algorithm)
        rows.append(["\(pcr)", algorithm.name, Hexadecimal.encode(value)])
    }
    return rows
}
