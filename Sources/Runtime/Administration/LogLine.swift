import Platform

/// A line of one of our programs in the system log, as a log file or journalctl(1) shows it.
struct LogLine {
    /// The whole line, including its time and host.
    let text: String
    /// The text after the program's name, including the fields.
    let message: String
    /// The container and state that the line is about; nil in a line of a version that wrote no fields.
    let fields: LogFields?

    /// The names under which our programs log.
    static let programs = ["vtpm-hook", "vtpm-supervisor"]

    /// Parses a line; returns nil if none of our programs wrote it.
    ///
    /// The program's name is the third word if the time is one word, and the fifth if the time has the traditional
    /// form. At any other position it is part of another program's message.
    ///
    ///     2026-01-31T10:00:00+00:00 host vtpm-hook[7]: …
    ///     Jan 31 10:00:00 host vtpm-hook[7]: …
    init?(_ line: some Sequence<UInt8>) {
        let bytes = Array(line)
        var words = 0
        var start: Int?
        for index in bytes.indices {
            guard bytes[index] == UInt8(ascii: " ") else {
                if start == nil { start = index }
                continue
            }
            guard let begin = start else { continue }
            start = nil
            words += 1
            if words == 3 || words == 5, Self.isOurs(bytes[begin..<index]) {
                text = String(decoding: bytes, as: UTF8.self)
                message = String(decoding: bytes[(index + 1)...], as: UTF8.self)
                fields = LogFields(atEndOf: bytes[(index + 1)...])
                return
            }
            if words == 5 { return nil }
        }
        return nil
    }

    /// Returns whether a word is the name of one of our programs with a process ID: `vtpm-hook[7]:`.
    private static func isOurs(_ word: ArraySlice<UInt8>) -> Bool {
        programs.contains { name in
            let rest = word.dropFirst(name.utf8.count)
            return word.starts(with: name.utf8) && rest.first == UInt8(ascii: "[")
                && rest.suffix(2).elementsEqual("]:".utf8)
        }
    }

    /// Returns whether the line names a container or a state in quotation marks, as lines without fields do.
    func names(_ id: String) -> Bool {
        message.contains("\"\(id)\"")
    }
}

extension [LogLine] {
    /// Returns the lines about a container, or about all containers that have had the state of this ID. docs/log.md
    ///
    /// Engines print and accept the first digits of a long ID; so does this, from eight digits on.
    func about(_ id: String) -> [LogLine] {
        let id = LogFields.value(id)
        let isShort = id.utf8.count >= 8 && id.utf8.allSatisfy(\.isLowercaseHexadecimal)
        var containers: Set<String> = []
        for case let subject? in map(\.fields?.subject) {
            guard let container = subject.container else { continue }
            let isMeant = container == id || isShort && container.utf8.count == 64 && container.hasPrefix(id)
            if isMeant || subject.state == id { containers.insert(container) }
        }
        return filter { line in
            guard let subject = line.fields?.subject else { return line.names(id) }
            return subject.container.map(containers.contains) ?? (subject.state == id)
        }
    }
}

extension UInt8 {
    fileprivate var isLowercaseHexadecimal: Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(self)
    }
}
