import Platform
import TOMLText

/// The template of containerd's configuration that k3s fills in, in Go's text/template.
public struct TemplateText: EngineText {
    let path: String
    let wrapper: String
    /// The version of what comes of it: 2, or 3 for containerd 2.
    let version: Int

    /// Creates the change of the file, which errors call `path`.
    public init(path: String, wrapper: String, version: Int) {
        (self.path, self.wrapper, self.version) = (path, wrapper, version)
    }

    /// All that k3s writes without a template.
    public var base: [UInt8] { Array("{{ template \"base\" . }}\n".utf8) }

    private var tables: ContainerdText.Tables { ContainerdText.Tables(version: version) }

    public func isComplete(_ text: [UInt8]) throws(Failure) -> Bool {
        try parse(text).value(at: tables.ours + ["options", "BinaryName"]) == .string(wrapper)
    }

    public func add(to text: inout EditedText) throws(Failure) {
        let document = try parse(text.bytes)
        guard document.value(at: tables.ours) == nil else { throw ContainerdText.foreign(path) }
        // k3s gives its own runc what the host needs; ours gets the same.
        let lines = ContainerdText.handler(tables, wrapper: wrapper, systemdCgroup: "{{ .SystemdCgroup }}")
        MarkedBlock.append(lines, of: .k3s, to: &text)
        try Meaning.require(document, parse(text.bytes), differingAt: [tables.ours], path)
    }

    public func remove(from text: inout EditedText, _ former: FormerEntries) throws(Failure) {
        let document = try parse(text.bytes)
        try MarkedBlock.cut(from: &text, path)
        try Meaning.require(parse(text.bytes), document, differingAt: [tables.ours], path)
    }

    /// Parses the template as if each of its actions were a value, or nothing where it has lines of its own.
    private func parse(_ text: [UInt8]) throws(Failure) -> Document {
        let plain = try withoutActions(text)
        do {
            return try Document(parsing: plain, path: path)
        } catch {
            throw Failure(
                "cannot change \(path)",
                because: "it is a template beyond what vtpmctl understands (\(error.why))",
                hint: "name \(wrapper) as BinaryName of a runtime by hand"
            )
        }
    }

    private func withoutActions(_ text: [UInt8]) throws(Failure) -> [UInt8] {
        var plain: [UInt8] = []
        var rest = text[...]
        while let start = rest.firstRange(of: Array("{{".utf8)) {
            guard let end = rest[start.upperBound...].firstRange(of: Array("}}".utf8)) else {
                throw Failure("cannot change \(path)", because: "an action of the template is not closed")
            }
            plain += rest[..<start.lowerBound]
            let feeds = rest[start.lowerBound..<end.upperBound].filter { $0 == UInt8(ascii: "\n") }
            rest = rest[end.upperBound...]
            let before = plain.reversed().first { $0 != 0x20 && $0 != 0x09 } ?? UInt8(ascii: "\n")
            let after = rest.first { $0 != 0x20 && $0 != 0x09 && $0 != 0x0d } ?? UInt8(ascii: "\n")
            let isAlone = before == UInt8(ascii: "\n") && after == UInt8(ascii: "\n")
            plain += feeds.isEmpty && !isAlone ? [UInt8(ascii: "0")] : feeds
        }
        return plain + rest
    }
}
