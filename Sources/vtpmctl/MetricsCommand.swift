import ArgumentParser
import Configuration
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys

/// `vtpmctl metrics`: numbers for a monitoring system.
struct MetricsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics",
        abstract: "Prints metrics as OpenMetrics text, for the node exporter's textfile collector.",
        discussion: """
            Counts what the hook and the supervisors have logged to the journal since the last call, and asks the \
            supervisors of the containers that run. No metric names a container, a state, a bundle, an image or a key. \
            Without a journal there are no counters. docs/metrics.md has each metric.
            """
    )

    @OptionGroup var host: HostOptions
    @Option(
        help: ArgumentHelp(
            "Replace this file in one step, with the mode 0644; standard output without it.",
            valueName: "file"
        )
    )
    var output: String?
    @Option(
        help: ArgumentHelp(
            "Keep totals and the journal's cursor in this file; \(MetricTotals.standardPath) without it.",
            valueName: "file"
        )
    )
    var cursor = MetricTotals.standardPath

    func run() throws {
        try report("asking supervisors and the journal") { () throws(Failure) in
            var metrics = HostMetrics()
            let paths = try host.hostPaths()
            for problem in try metrics.examine(paths) { complain("vtpmctl: \(problem)") }
            metrics.keyWritten = try MasterKeyProvider(
                host.configuration(),
                keysPath: paths.keys,
                credentialsDirectory: nil
            ).timeOfWriting()
            metrics.totals = try totals()
            guard let output else { return try Output.write(text: metrics.text) }
            let place = FilePlace(output)
            let directory = try Descriptor.open(place.directory, .directory)
            try place.replace(Array(metrics.text.utf8), mode: 0o644, in: directory)
        }
    }

    /// Counts what has been logged; returns nil if there is no journal.
    private func totals() throws(Failure) -> MetricTotals? {
        let journal = EventJournal()
        guard journal.exists else { return nil }
        return try MetricTotals.update(cursor) { (totals) throws(Failure) in
            if let batch = try journal.read(after: totals.cursor) { totals.count(batch) }
        }
    }
}
