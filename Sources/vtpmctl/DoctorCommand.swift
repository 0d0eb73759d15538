import ArgumentParser
import Doctor
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl

/// `vtpmctl doctor`: what keeps containers on this host from having TPMs.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Looks for what keeps containers on this host from having TPMs.",
        discussion: """
            It changes nothing. It exits with 0 if nothing has to be mended, with 1 if the hook refuses containers, and \
            with 2 if something else has to be mended, or could not be found out.
            """
    )

    @OptionGroup var host: HostOptions
    @Flag(help: "Print a JSON array, one object for each check.")
    var json = false
    /// The name of the check from which on this process reports to the one that started it.
    @Option(help: .private)
    var serve: String?

    /// How long a program of the host may take to print, in milliseconds.
    private static let programTimeout = 10_000

    func run() throws {
        var reports: [Report] = []
        try report("examining this host") { () throws(Failure) in
            let paths = try host.hostPaths()
            if let serve { return try self.serve(from: serve, paths) }
            try Examination { launch(from: $0, paths) }.run { (report) throws(Failure) in
                reports.append(report)
                if !json { try write(report) }
            }
            try json ? Output.write(json: reports) : writeSum(of: reports)
        }
        guard reports.exitCode == 0 else { throw ExitCode(reports.exitCode) }
    }

    /// Returns the start of another process of this program, which runs the checks from this one on.
    private func launch(from check: Check, _ paths: HostPaths) -> ProgramLaunch {
        let configuration = host.configurationPath.map { ["--config", $0] } ?? []
        let credentials = HostOptions.credentialsDirectory.map { ["CREDENTIALS_DIRECTORY=\($0)"] } ?? []
        return ProgramLaunch(
            paths.program("vtpmctl"),
            ["vtpmctl", "doctor", "--serve", check.id] + configuration,
            environment: ProgramLaunch.plainEnvironment + credentials
        )
    }

    private func serve(from id: String, _ paths: HostPaths) throws(Failure) {
        var examined = Host(paths) { (program, arguments) throws(Failure) in
            let text = try ProgramOutput.read(program, arguments, limit: 1 << 20, timeout: Self.programTimeout)
            return String(decoding: text, as: UTF8.self)
        }
        examined.configurationPath = host.configurationPath
        examined.credentialsDirectory = HostOptions.credentialsDirectory
        try Examination.serve(from: id, on: examined) { (line) throws(Failure) in try Output.write(line: line) }
    }

    /// The width of the columns before what was found.
    private static let widths = (result: 9, id: 20)

    private func write(_ report: Report) throws(Failure) {
        let result = report.result.rawValue.padded(to: Self.widths.result)
        var lines = [result + report.id.padded(to: Self.widths.id) + report.found]
        if let remedy = report.remedy {
            lines.append("".padded(to: Self.widths.result + Self.widths.id) + "-> \(remedy)")
        }
        try Output.write(lines: lines)
    }

    private func writeSum(of reports: [Report]) throws(Failure) {
        func count(_ result: Finding.Result) -> Int { reports.filter { $0.result == result }.count }
        let counts = "\(count(.problem)) problems, \(count(.unknown)) unknown, \(count(.note)) notes, \(count(.ok)) ok"
        let refused = reports.contains { $0.refusesContainers }
        try Output.write(line: refused ? "\(counts); the hook refuses containers" : counts)
    }
}

extension String {
    /// The text with blanks after it.
    fileprivate func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
