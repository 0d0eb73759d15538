/// The fields of `/proc/PID/status`. proc_pid_status(5)
public struct ProcessStatus: Sendable {
    private let lines: [ArraySlice<UInt8>]

    /// Creates it from the whole file.
    public init(_ text: [UInt8]) {
        lines = text.split(separator: UInt8(ascii: "\n"))
    }

    /// The value of a field, without the blanks around it; nil if there is no such field.
    public subscript(field: String) -> String? {
        let start = "\(field):".utf8
        guard let line = lines.first(where: { $0.starts(with: start) }) else { return nil }
        let isBlank = { (byte: UInt8) in byte == UInt8(ascii: "\t") || byte == UInt8(ascii: " ") }
        var value = line.dropFirst(start.count).drop(while: isBlank)
        while let last = value.last, isBlank(last) { value.removeLast() }
        return String(decoding: value, as: UTF8.self)
    }

    /// Whether the process is the first one of a PID namespace below the reader's (`NSpid`).
    public var isFirstInPIDNamespace: Bool {
        let numbers = self["NSpid"]?.split { $0 == "\t" || $0 == " " } ?? []
        return numbers.count > 1 && numbers.last == "1"
    }
}

/// The fields of `/proc/PID/stat`, as far as they are used. proc_pid_stat(5)
enum ProcessStat {
    /// When the process was started, in clock ticks since boot; nil if the text is not whole. Field 22
    static func startTime(_ text: [UInt8]) -> UInt64? {
        // The second field is the name in brackets, and may itself hold blanks and brackets.
        guard let end = text.lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = text[end...].split(separator: UInt8(ascii: " "))
        // The kernel writes more fields after it: a last one may have been cut off.
        return fields.count > 21 ? UInt64(String(decoding: fields[20], as: UTF8.self)) : nil
    }
}
