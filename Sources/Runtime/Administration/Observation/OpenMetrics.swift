/// A text in the form of OpenMetrics, which the node exporter's textfile collector reads as well.
///
/// That collector knows no counter whose samples end in `_total` beside their family's name: it takes such samples for
/// untyped, and their values are the same. OpenMetrics 1.0, "Text format"
struct OpenMetrics {
    /// What a family of metrics is.
    enum Kind: String {
        case gauge
        case counter
        case summary
    }

    /// A value of a family, with the label that tells it from the others.
    struct Sample {
        var suffix = ""
        var label: (name: String, value: String)?
        var value: String
    }

    private var lines: [String] = []

    /// Adds a family; a counter's samples get the suffix that they must have.
    mutating func add(_ name: String, _ kind: Kind, unit: String? = nil, _ help: String, _ samples: [Sample]) {
        let name = unit.map { "\(name)_\($0)" } ?? name
        lines.append("# TYPE \(name) \(kind.rawValue)")
        if let unit { lines.append("# UNIT \(name) \(unit)") }
        lines.append("# HELP \(name) \(help)")
        for sample in samples {
            let suffix = kind == .counter ? "_total" : sample.suffix
            let labels = sample.label.map { "{\($0.name)=\"\($0.value)\"}" } ?? ""
            lines.append("\(name)\(suffix)\(labels) \(sample.value)")
        }
    }

    /// Adds a family of one value without a label.
    mutating func add(_ name: String, _ kind: Kind, unit: String? = nil, _ help: String, _ value: String) {
        add(name, kind, unit: unit, help, [Sample(value: value)])
    }

    /// The whole text, with its end.
    var text: String { lines.joined(separator: "\n") + "\n# EOF\n" }

    /// Returns a number of microseconds in seconds.
    static func seconds(_ microseconds: UInt64) -> String {
        "\(microseconds / 1_000_000)." + String(String(1_000_000 + microseconds % 1_000_000).dropFirst())
    }
}
