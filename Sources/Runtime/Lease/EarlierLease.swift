import Glibc
import Platform
import RuntimeControl

/// The lease in the form of the first versions: JSON in `lease.json`.
///
/// If the programs are upgraded while a container runs, its lease stays as it is until the container ends. A lease does
/// not outlive the boot, so this can be removed once nobody upgrades from a version that wrote it.
///
/// It is one object of strings and numbers, without objects or lists in it. A few lines read it, so the supervisor
/// needs no JSON library.
enum EarlierLease {
    static let file = "lease.json"
    static let unfinishedFile = "lease.json.new"
    /// The largest file, in bytes.
    static let sizeLimit = 256 * 1024

    /// Reads a lease; returns nil if it is damaged.
    static func lease(_ content: [UInt8]) -> Lease? {
        guard let text = String(validating: content, as: UTF8.self) else { return nil }
        var scanner = FlatObject(text)
        guard let fields = scanner.read() else { return nil }
        func process(_ name: String) -> ProcessID? {
            guard let process = fields["\(name)PID"]?.number.flatMap({ pid_t(exactly: $0) }),
                let startTime = fields["\(name)StartTime"]?.number
            else { return nil }
            return ProcessID(process: process, startTime: startTime)
        }
        guard let containerID = fields["containerID"]?.text, let bundle = fields["bundle"]?.text,
            let initProcess = process("init"), let supervisor = process("supervisor"), let worker = process("worker"),
            let tpmNumber = fields["tpmNumber"]?.number.flatMap({ UInt32(exactly: $0) }),
            let tpm = fields["tpm"]?.text, let tpmrm = fields["tpmrm"]?.text
        else { return nil }
        return Lease(
            containerID: containerID,
            bundle: bundle,
            stateID: fields["stateID"]?.text,
            initProcess: initProcess,
            supervisor: supervisor,
            worker: worker,
            library: fields["libtpms"]?.text.flatMap { LibraryVersion(parsing: $0) },
            tpmNumber: tpmNumber,
            tpm: tpm,
            tpmrm: tpmrm
        )
    }
}

extension LibraryVersion {
    /// Parses a ``description``; returns nil if it is none.
    fileprivate init?(parsing text: String) {
        // Bytes are split, since splitting a string would link a library for regular expressions.
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            .map { UInt8(String(decoding: $0, as: UTF8.self)) }
        guard parts.count == 3, let major = parts[0], let minor = parts[1], let micro = parts[2] else { return nil }
        self.init(major, minor, micro)
    }
}

/// Reads a JSON object whose values are strings and unsigned integers. RFC 8259
private struct FlatObject {
    enum Value {
        case text(String)
        case number(UInt64)

        var text: String? { if case .text(let text) = self { text } else { nil } }
        var number: UInt64? { if case .number(let number) = self { number } else { nil } }
    }

    private var rest: Substring.UnicodeScalarView

    init(_ text: String) { rest = text[...].unicodeScalars }

    /// Returns the members; nil if the text is anything else.
    mutating func read() -> [String: Value]? {
        var members: [String: Value] = [:]
        guard take("{") else { return nil }
        repeat {
            guard let name = readText(), take(":"), let value = readValue(),
                members.updateValue(value, forKey: name) == nil
            else { return nil }
        } while take(",")
        guard take("}") else { return nil }
        skipBlanks()
        return rest.isEmpty ? members : nil
    }

    private mutating func skipBlanks() {
        rest = rest.drop { [" ", "\n", "\r", "\t"].contains($0) }
    }

    /// Takes a sign of the grammar, and the blanks before it.
    private mutating func take(_ sign: Unicode.Scalar) -> Bool {
        skipBlanks()
        guard rest.first == sign else { return false }
        rest.removeFirst()
        return true
    }

    private mutating func readValue() -> Value? {
        skipBlanks()
        if rest.first == "\"" { return readText().map { .text($0) } }
        let digits = rest.prefix { ("0"..."9").contains($0) }
        rest = rest[digits.endIndex...]
        return UInt64(String(digits)).map { .number($0) }
    }

    private mutating func readText() -> String? {
        guard take("\"") else { return nil }
        var text = String.UnicodeScalarView()
        while let scalar = rest.popFirst() {
            switch scalar {
            case "\"": return String(text)
            case "\\":
                guard let escaped = readEscape() else { return nil }
                text.append(escaped)
            default: text.append(scalar)
            }
        }
        return nil
    }

    /// Reads what follows a backslash; a surrogate is refused, since no encoder needs one here.
    private mutating func readEscape() -> Unicode.Scalar? {
        switch rest.popFirst() {
        case "\"": return "\""
        case "\\": return "\\"
        case "/": return "/"
        case "b": return "\u{8}"
        case "f": return "\u{c}"
        case "n": return "\n"
        case "r": return "\r"
        case "t": return "\t"
        case "u":
            let digits = rest.prefix(4)
            guard digits.count == 4, digits.allSatisfy({ $0.properties.isASCIIHexDigit }) else { return nil }
            rest.removeFirst(4)
            return UInt32(String(digits), radix: 16).flatMap { Unicode.Scalar($0) }
        default: return nil
        }
    }
}
