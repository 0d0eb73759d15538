import Platform

/// A line of one of our programs in the system log, as a log file or journalctl(1) shows it.
public struct LogLine: Sendable {
    /// The whole line, including its time and host.
    let text: String
    /// The time as the log has it.
    let time: String
    /// The text after the program's name, including the fields.
    let message: String
    /// The container and state that the line is about; nil in a line of a version that wrote no fields.
    let fields: LogFields?

    /// The names under which our programs log.
    static let programs = ["vtpm-hook", "vtpm-supervisor", "vtpmctl"]

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
                // The host's name is between the time and the program's.
                let host = bytes[..<(begin - 1)].lastIndex(of: UInt8(ascii: " ")) ?? 0
                time = String(decoding: bytes[..<host], as: UTF8.self)
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

// MARK: - For people

extension LogLine {
    /// The whole line as the log has it, on one line of a terminal.
    public var raw: String { text.onOneLine }

    /// The time, and what was said, without the fields for programs.
    public var words: String {
        let sentence = LogFields.split(message.utf8)?.sentence ?? message
        return "\(time)  \(sentence)".onOneLine
    }

    /// What helps after the line, as a command with its reason; nil if nothing has gone wrong, or if it is not known.
    public var advice: String? {
        guard let fields, let kind = fields.details.reason.map({ FailureKind(word: $0) }),
            let outcome = Self.outcomes[fields.event]
        else { return nil }
        return "\(outcome): \(Self.advice(kind, fields.subject.state))".onOneLine
    }

    /// Whether the line says how a start or a life has ended, or that one goes on.
    public var isOutcome: Bool { fields.map { $0.event == "started" || Self.outcomes[$0.event] != nil } ?? false }

    private static let outcomes = [
        "refused": "The container did not start", "failed": "Every command fails until the container stops",
        "stopped": "The TPM was not shut down in order",
    ]

    private static func advice(_ kind: FailureKind, _ state: String?) -> String {
        switch kind {
        case .key: "the master key cannot be had. See vtpmctl doctor and vtpmctl key show"
        case .hostTPM: "the host's own TPM refuses. See vtpmctl doctor"
        case .state:
            "its state is in use, or not the one that it was. See vtpmctl list and "
                + (state.map { "vtpmctl state verify \($0.shellWord)" } ?? "vtpmctl state verify")
        case .disk: "a file system is full, broken or read-only. See df /var/lib/container-vtpm and dmesg"
        case .container: "the container cannot have a TPM as it is. The line above says what to change"
        case .device: "the kernel does not create the device, or does not let it be used. See vtpmctl doctor"
        case .systemd: "systemd does not answer, or refuses. See vtpmctl doctor and systemctl status"
        case .process: "a process of ours has ended, or could not start. See vtpmctl doctor and dmesg"
        case .other: "the line above says why. See vtpmctl doctor"
        }
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
