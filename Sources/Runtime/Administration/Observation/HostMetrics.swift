import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState

/// What `vtpmctl metrics` says of a host.
///
/// The values of labels are words of our own. Nothing here knows the name of a container, a state, a bundle, an image or
/// a key.
public struct HostMetrics: Equatable, Sendable {
    /// What answers the commands of a container's TPM.
    public enum Health: String, CaseIterable, Sendable {
        case serving
        case failed
        case stopping
        /// Nothing: its supervisor is gone, or does not answer.
        case lost
    }

    /// The number of containers with a TPM.
    public var vtpms: [Health: Int] = [:]
    /// The number of states.
    public var states = 0
    /// When the file of the master key was last written, in seconds since 1970; nil if this host does not keep it.
    public var keyWritten: UInt64?
    /// The totals of the log; nil if the host has no journal.
    public var totals: MetricTotals?

    /// Creates the metrics of a host without anything.
    public init() {}

    /// How long supervisors that do not answer may take together, in milliseconds, and one of them after that.
    private static let patience = (all: 20_000, one: 50)

    /// Looks at the leases and the states; returns the errors of leases that were passed over.
    public mutating func examine(_ paths: HostPaths) throws(Failure) -> [Failure] {
        if let directory = try Self.open(paths.states) {
            states = try entries(of: directory, paths.states).count(where: StateDirectoryName.isEncoded)
        }
        guard let run = try Self.open(paths.leases) else { return [] }
        let deadline = Deadline(milliseconds: Self.patience.all)
        var found: [Health: Int] = [:]
        let problems = try Leases.each(in: run) { (opened, lease) throws(Failure) in
            guard lease != nil else { return }
            let timeout = max(min(deadline.remaining, VTPMStatus.timeout), Self.patience.one)
            let health: Health =
                switch VTPMStatus.ask(in: opened.directory, timeout: timeout)?.health {
                case .serving: .serving
                case .failed: .failed
                case .stopping: .stopping
                case nil: .lost
                }
            found[health, default: 0] += 1
        }
        vtpms = found
        return problems
    }

    private static func open(_ path: String) throws(Failure) -> Descriptor? {
        do {
            return try .open(path, .directory)
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// The metrics as a text.
    public var text: String {
        var metrics = OpenMetrics()
        metrics.add(
            "container_vtpm_vtpms",
            .gauge,
            "Containers that have a TPM, by what answers its commands.",
            Health.allCases.map { .init(label: ("health", $0.rawValue), value: "\(vtpms[$0] ?? 0)") }
        )
        metrics.add("container_vtpm_states", .gauge, "States of TPMs on this host.", "\(states)")
        if let keyWritten {
            let help = "When the file of the master key was last written."
            metrics.add("container_vtpm_master_key_timestamp", .gauge, unit: "seconds", help, "\(keyWritten)")
        }
        let help = "Whether there is a journal, from which the counters come."
        metrics.add("container_vtpm_log_readable", .gauge, help, totals == nil ? "0" : "1")
        totals?.add(to: &metrics)
        return metrics.text
    }
}

extension MetricTotals {
    func add(to metrics: inout OpenMetrics) {
        metrics.add("container_vtpm_starts", .counter, "Containers that got their TPM.", "\(starts)")
        metrics.add(
            "container_vtpm_stops",
            .counter,
            "TPMs whose containers have ended, by whether they were shut down in order, without those that had failed.",
            [
                .init(label: ("shutdown", "orderly"), value: "\(orderlyStops)"),
                .init(label: ("shutdown", "none"), value: "\(otherStops)"),
            ]
        )
        metrics.add("container_vtpm_refusals", .counter, "Containers that did not start.", Self.samples(refusals))
        let help = "TPMs that failed while their containers lived."
        metrics.add("container_vtpm_failures", .counter, help, Self.samples(failures))
        metrics.add(
            "container_vtpm_state_write",
            .summary,
            unit: "seconds",
            "Writes of the states of TPMs that have ended, each until it was on stable storage.",
            [
                .init(suffix: "_count", value: "\(writes.count)"),
                .init(suffix: "_sum", value: OpenMetrics.seconds(writes.total)),
            ]
        )
        metrics.add(
            "container_vtpm_state_write_longest",
            .gauge,
            unit: "seconds",
            "The longest of these writes since counting began.",
            OpenMetrics.seconds(writes.longest)
        )
    }

    private static func samples(_ counts: [FailureKind: UInt64]) -> [OpenMetrics.Sample] {
        FailureKind.allCases.map { .init(label: ("reason", $0.rawValue), value: "\(counts[$0] ?? 0)") }
    }
}
