/// Names of systemd's units. systemd.unit(5)
enum UnitName {
    /// The longest name, in bytes. systemd, `UNIT_NAME_MAX`
    private static let limit = 255
    /// The largest part of a name that stands for a container, in bytes.
    private static let partLimit = 128

    /// Returns a text as a part of a name: each byte that a name cannot have is written as `\xNN`.
    ///
    /// This is like systemd-escape(1), but hyphens stay, since IDs of containers have many. A long text is cut.
    static func part(_ text: String) -> String {
        var part = ""
        for byte in text.utf8 {
            let scalar = Unicode.Scalar(byte)
            let isPlain = isValid(byte) && byte != UInt8(ascii: "\\") && byte != UInt8(ascii: "@")
            let digits = String(byte, radix: 16)
            let next = isPlain ? String(scalar) : "\\x" + (byte < 16 ? "0" : "") + digits
            guard part.utf8.count + next.utf8.count <= partLimit else { break }
            part += next
        }
        return part
    }

    /// Returns the services and scopes whose cgroups these paths lead through, from the top down.
    ///
    /// systemd writes an underscore before a name that the kernel could take for a file of its own (`cg_escape`).
    static func units(along paths: [CgroupPath]) -> [String] {
        var units: [String] = []
        for component in paths.flatMap({ $0.names }) {
            let isEscaped = component.first == UInt8(ascii: "_")
            let name = String(decoding: component.dropFirst(isEscaped ? 1 : 0), as: UTF8.self)
            guard isPlain(name), !units.contains(name) else { continue }
            units.append(name)
        }
        return units
    }

    /// Whether it is the name of a scope or a service, and no template's.
    static func isPlain(_ name: String) -> Bool {
        (name.hasSuffix(".scope") || name.hasSuffix(".service")) && name.utf8.count <= limit
            && name.utf8.first != UInt8(ascii: ".") && name.utf8.allSatisfy(isValid) && !isTemplate(name)
    }

    /// Whether a name with an `@` lacks the prefix before it or the instance after it.
    private static func isTemplate(_ name: String) -> Bool {
        guard let at = name.firstIndex(of: "@"), let dot = name.lastIndex(of: ".") else { return false }
        return at == name.startIndex || name.index(after: at) == dot
    }

    private static func isValid(_ byte: UInt8) -> Bool {
        switch Unicode.Scalar(byte) {
        case "a"..."z", "A"..."Z", "0"..."9", ":", "-", "_", ".", "\\", "@": true
        default: false
        }
    }
}
