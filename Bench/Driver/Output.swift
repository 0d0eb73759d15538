import Glibc

/// What is written: one line of JSON for each block of measurements, on standard output.
struct Output {
    /// A number from 0 on: what was measured under the same one, was measured side by side.
    var round: Int

    /// Writes the median and the quartiles of some values.
    func write(_ group: String, _ name: String, _ side: String, unit: String, _ values: [Double]) {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return }
        func quantile(_ part: Double) -> Double {
            let place = part * Double(sorted.count - 1)
            let below = Int(place)
            let above = min(below + 1, sorted.count - 1)
            return sorted[below] + (sorted[above] - sorted[below]) * (place - Double(below))
        }
        let fields = [
            "\"group\": \"\(group)\"", "\"name\": \"\(name)\"", "\"side\": \"\(side)\"", "\"unit\": \"\(unit)\"",
            "\"round\": \(round)", "\"count\": \(sorted.count)", "\"median\": \(quantile(0.5))",
            "\"low\": \(quantile(0.25))", "\"high\": \(quantile(0.75))",
        ]
        let line = Array("{\(fields.joined(separator: ", "))}\n".utf8)
        // A measurement that is lost would look like one that was not made.
        guard Glibc.write(STDOUT_FILENO, line, line.count) == line.count else {
            Self.say("cannot write standard output: write: \(String(cString: strerror(errno)))")
            exit(1)
        }
    }

    /// Tells a person what goes on.
    static func say(_ text: String) {
        let line = Array("bench: \(text)\n".utf8)
        _ = Glibc.write(STDERR_FILENO, line, line.count)
    }
}

/// Nanoseconds as microseconds.
func microseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1000 }
/// Nanoseconds as milliseconds.
func milliseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1_000_000 }
