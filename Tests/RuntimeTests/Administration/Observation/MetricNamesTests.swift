import Glibc
import JSONText
import Platform
import Testing

@testable import RuntimeAdministration

/// The dashboard and the documentation, beside what is printed.
@Suite struct MetricNamesTests {
    private static let root = #filePath.split(separator: "/").dropLast(5).reduce("") { "\($0)/\($1)" }

    /// The names of all samples that there can be, with their labels' names and values.
    private static func samples() -> (names: Set<String>, families: Set<String>, labels: Set<String>) {
        var metrics = HostMetrics()
        metrics.keyWritten = 1
        metrics.totals = MetricTotals()
        let text = metrics.text
        return (
            Set(text.matches(of: #/(?m)^([a-z_]+)[ {]/#).map { String($0.1) }),
            Set(text.matches(of: #/(?m)^# TYPE ([a-z_]+) /#).map { String($0.1) }),
            Set(text.matches(of: /\{([a-z]+)="/).map { String($0.1) })
        )
    }

    private static func text(_ path: String) throws -> [UInt8] {
        try Descriptor.openFile("\(root)/\(path)", .read).readAll(limit: 1 << 20, path)
    }

    @Test func `the dashboard asks for metrics that there are, and for all of them`() throws {
        let path = "packaging/grafana/container-vtpm.json"
        let dashboard = try JSONText(parsing: Self.text(path), path: path, limit: 1 << 20).root
        let known = Self.samples()
        var used: Set<String> = []
        let panels = try #require(dashboard["panels"]?.elements)
        #expect(Set(panels.map { $0["id"]?.integer }).count == panels.count)
        for target in panels.flatMap({ $0["targets"]?.elements ?? [] }) {
            let query = try #require(target["expr"]?.string)
            used.formUnion(query.matches(of: /container_vtpm_[a-z_]+/).map { String($0.0) })
            let labels = query.matches(of: /by \(([a-z]+)\)/).map { String($0.1) }
            #expect(Set(labels).isSubset(of: known.labels), "\(query)")
        }
        #expect(used == known.names)
    }

    @Test func `the documentation has each metric, and no other`() throws {
        let text = String(decoding: try Self.text("docs/metrics.md"), as: UTF8.self)
        let rows = text.matches(of: /(?m)^\| `(container_vtpm_[a-z_]+)/).map { String($0.1) }
        #expect(Set(rows) == Self.samples().names && rows.count == Set(rows).count)
    }

    @Test func `the documentation of the log has each kind of error, and each event`() throws {
        let text = String(decoding: try Self.text("docs/log.md"), as: UTF8.self)
        for word in FailureKind.allCases.map(\.rawValue) + LogEvent.allCases.map(\.rawValue) {
            #expect(text.contains("\n| `\(word)` |"), "\(word)")
        }
    }
}
