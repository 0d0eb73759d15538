import Platform

/// A line that one of our programs has written to the system log, as a log file or journalctl(1) shows it.
struct LogLine {
    /// The whole line, with its time and host.
    let text: String
    /// What the program has said.
    let message: String

    /// The names that our programs log under.
    static let programs = ["vtpm-hook", "vtpm-supervisor"]

    /// Takes the line if it is ours.
    ///
    /// The program's name is the third word after a time in one word (`2026-01-31T10:00:00+00:00 host vtpm-hook[7]: …`),
    /// and the fifth after a traditional one (`Jan 31 10:00:00 host vtpm-hook[7]: …`). Anywhere else it is a part of what
    /// another program says.
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
                return
            }
            if words == 5 { return nil }
        }
        return nil
    }

    /// Whether it is the name of one of our programs with a process ID: `vtpm-hook[7]:`.
    private static func isOurs(_ word: ArraySlice<UInt8>) -> Bool {
        programs.contains { name in
            let rest = word.dropFirst(name.utf8.count)
            return word.starts(with: name.utf8) && rest.first == UInt8(ascii: "[")
                && rest.suffix(2).elementsEqual("]:".utf8)
        }
    }

    /// The container that the line is about: the ID in the first quotation marks, after one of the beginnings that our
    /// programs give their lines.
    var container: String? {
        for beginning in ["container \"", "vTPM of container \"", "poststop of container \""]
        where message.hasPrefix(beginning) {
            return String(message.dropFirst(beginning.count).prefix { $0 != "\"" })
        }
        return nil
    }

    /// Whether it names a container or a state, in quotation marks as our programs do.
    func names(_ id: String) -> Bool {
        message.contains("\"\(id)\"")
    }
}

extension [LogLine] {
    /// The lines that say something of a container: those that name it, and all of the containers that have had a state
    /// of this ID.
    ///
    /// Engines show, and take, the first digits of a long ID; so do we, from eight on.
    func about(_ id: String) -> [LogLine] {
        let id = id.onOneLine
        let isShort = id.utf8.count >= 8 && id.utf8.allSatisfy(\.isLowercaseHexadecimal)
        var containers: Set<String> = []
        for line in self {
            guard let container = line.container else { continue }
            let isMeant = container == id || isShort && container.utf8.count == 64 && container.hasPrefix(id)
            if isMeant || line.message.contains(", state \"\(id)\", generation ") { containers.insert(container) }
        }
        return filter { line in line.names(id) || line.container.map(containers.contains) ?? false }
    }
}

extension UInt8 {
    fileprivate var isLowercaseHexadecimal: Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(self)
    }
}
