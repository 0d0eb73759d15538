import JSONText
import Platform

@testable import RuntimeAdministration

/// A line of the system log or of journalctl(1), which any process of the host may have written, and the file of totals.
func fuzzLogLine(_ bytes: UnsafeRawBufferPointer) {
    let input = Array(bytes)
    if let (_, fields) = LogFields.split(input) {
        require(LogFields(atEndOf: input) == fields, "two readings of one line")
    }
    if let line = LogLine(input) {
        for text in [line.raw, line.words, line.advice ?? ""] { require(isOneLine(text), "a line that is several") }
        if let state = line.fields?.subject.state, let advice = line.advice { examine(advice, state) }
        _ = [line].about("web")
    }
    if let event = LoggedEvent(journal: input, programs: "/usr/libexec/container-vtpm") {
        require(!event.json.utf8.contains { $0 < 0x20 }, "an event of several lines")
        let json = must { () throws(Failure) in
            try JSONText(parsing: Array(event.json.utf8), path: "event", limit: 1 << 20).root
        }
        require(json["cursor"]?.string == event.cursor, "an event that is another in JSON")
        var totals = MetricTotals()
        totals.count(EventJournal.Batch(events: [event], cursor: event.cursor))
        requireReturn(of: totals)
    }
    if let totals = MetricTotals(decoding: String(decoding: input, as: UTF8.self)) { requireReturn(of: totals) }
}

private func requireReturn(of totals: MetricTotals) {
    let again = MetricTotals(decoding: totals.encoded)
    require(again?.encoded == totals.encoded, "totals that do not come back")
}

private func isOneLine(_ text: String) -> Bool { !text.utf8.contains { $0 < 0x20 || $0 == 0x7f } }

/// Whoever runs the command of an advice gives it the state's ID as one word.
private func examine(_ advice: String, _ state: String) {
    let command = Array(" vtpmctl state verify ".utf8)
    let bytes = Array(advice.utf8)
    guard let start = bytes.indices.first(where: { bytes[$0...].starts(with: command) }) else { return }
    let word = bytes[(start + command.count)...]
    let apostrophe = UInt8(ascii: "'")
    var read: [UInt8] = []
    var isQuoted = false
    var rest = word
    while let byte = rest.popFirst() {
        switch byte {
        case apostrophe: isQuoted.toggle()
        case UInt8(ascii: "\\") where !isQuoted: if let next = rest.popFirst() { read.append(next) }
        default:
            let isPlain = isQuoted || byte.isLetterOrDigit || "-_./:@%+,".utf8.contains(byte)
            require(isPlain, "a character that a shell understands")
            read.append(byte)
        }
    }
    require(!isQuoted && read == Array(state.onOneLine.utf8), "another ID than the state's")
}

extension UInt8 {
    fileprivate var isLetterOrDigit: Bool {
        switch Unicode.Scalar(self) {
        case "a"..."z", "A"..."Z", "0"..."9": true
        default: false
        }
    }
}
