import Platform
import TOMLText

/// The configuration of containerd, of the versions that have the plugin's full name. containerd-config.toml(5)
public struct ContainerdText: EngineText {
    let path: String
    let wrapper: String
    let isDefault: Bool
    /// The version that a new file has: 2, or 3 for containerd 2.
    let newVersion: Int
    /// Whether it is a file of our own in a folder that another one imports.
    let isDropIn: Bool
    /// What else containerd reads, in its order.
    let others: [Document]

    /// Creates the change of the file, which errors call `path`.
    public init(
        path: String,
        wrapper: String,
        isDefault: Bool,
        newVersion: Int,
        isDropIn: Bool = false,
        others: [Document] = []
    ) {
        self.others = others
        self.path = path
        self.wrapper = wrapper
        self.isDefault = isDefault
        self.newVersion = newVersion
        self.isDropIn = isDropIn
    }

    public var base: [UInt8] { Array("version = \(newVersion)\n".utf8) }

    /// The folder of drop-in files that containerd 2.2 names in the `imports` of its own default.
    static let dropInPattern = "/etc/containerd/conf.d/*.toml"

    /// Whether a file imports the folder of drop-in files, and merges what is in it table by table.
    ///
    /// Before version 3 a file that is imported replaces the whole configuration of a plugin.
    static func importsDropIns(_ document: Document) -> Bool {
        guard case .integer(let version)? = document.value(at: ["version"]), version >= 3,
            case .array(let imports)? = document.value(at: ["imports"])
        else { return false }
        return imports.contains(.string(dropInPattern))
    }

    /// The tables of containerd's CRI plugin in a file.
    struct Tables {
        let plugin: [String]
        var containerd: [String] { plugin + ["containerd"] }
        var runtimes: [String] { containerd + ["runtimes"] }
        var ours: [String] { runtimes + [ProgramLayout.runtimeName] }
        var runc: [String] { runtimes + ["runc"] }
        var defaultName: [String] { containerd + ["default_runtime_name"] }

        /// - Throws: ``Failure`` if the version of the file is none that has them.
        init(of document: Document, _ path: String) throws(Failure) {
            switch document.value(at: ["version"]) {
            case .integer(2): self.init(version: 2)
            case .integer(3), .integer(4): self.init(version: 3)
            case nil, .integer(1):
                throw Failure(
                    "cannot change \(path)",
                    because: "it is of version 1, which has other tables",
                    hint: "containerd config migrate shows it in a newer version"
                )
            default: throw Failure("cannot change \(path)", because: "its version is not known")
            }
        }

        init(version: Int) {
            plugin = ["plugins", version == 2 ? "io.containerd.grpc.v1.cri" : "io.containerd.cri.v1.runtime"]
        }

        /// Those of all versions.
        static let all = [Tables(version: 2), Tables(version: 3)]

        /// The header of a table.
        static func header(_ keys: [String]) -> String {
            let parts = keys.map { $0.contains(".") ? "\"\($0)\"" : $0 }
            return "[\(parts.joined(separator: "."))]"
        }
    }

    /// Returns the lines of our handler, with its option SystemdCgroup unless that is nil.
    static func handler(_ tables: Tables, wrapper: String, systemdCgroup: String?) -> [String] {
        [
            Tables.header(tables.ours), "  runtime_type = \"io.containerd.runc.v2\"",
            "  pod_annotations = [\"org.container-vtpm.*\"]", "  container_annotations = [\"org.container-vtpm.*\"]",
            Tables.header(tables.ours + ["options"]), "  BinaryName = \"\(wrapper)\"",
        ] + (systemdCgroup.map { ["  SystemdCgroup = \($0)"] } ?? [])
    }

    public func isComplete(_ text: [UInt8]) throws(Failure) -> Bool {
        let document = try Document(parsing: text, path: path)
        let tables = try Tables(of: document, path)
        guard document.value(at: tables.ours + ["options", "BinaryName"]) == .string(wrapper) else { return false }
        guard isDefault else { return true }
        return try self.isDefault(in: text)
    }

    public func isDefault(in text: [UInt8]) throws(Failure) -> Bool {
        let document = try Document(parsing: text, path: path)
        return try document.value(at: Tables(of: document, path).defaultName) == .string(ProgramLayout.runtimeName)
    }

    public func add(to text: inout EditedText) throws(Failure) {
        let document = try Document(parsing: text.bytes, path: path)
        let tables = try Tables(of: document, path)
        guard document.value(at: tables.ours) == nil else { throw Self.foreign(path) }
        let isOn = Self.systemdCgroup(of: [document] + others)
        var lines = Self.handler(tables, wrapper: wrapper, systemdCgroup: isOn.map { "\($0)" })
        var entries = [tables.ours]
        if !isDropIn, document.value(at: tables.runtimes) == nil {
            // containerd 1 takes the runtimes of the file in place of its own: without this one, its default is none.
            lines += [Tables.header(tables.runc), "  runtime_type = \"io.containerd.runc.v2\""]
            entries.append(tables.runc)
        }
        if isDefault {
            entries.append(tables.defaultName)
            lines = try setDefault(in: &text, document, tables) + lines
        }
        MarkedBlock.append(lines, of: .containerd, to: &text)
        let after = try Document(parsing: text.bytes, path: "\(path) with our entries")
        try Meaning.require(document, after, differingAt: entries, path)
    }

    /// Returns the option SystemdCgroup of the runtime that containers have unless they name another; nil if it has none.
    ///
    /// Of several documents the last one that has a value holds.
    static func systemdCgroup(of documents: [Document]) -> Bool? {
        func last(_ keys: (Tables) -> [String]) -> Document.Value? {
            let values = documents.flatMap { document in Tables.all.map { document.value(at: keys($0)) } }
            return values.last { $0 != nil } ?? nil
        }
        var names = ["runc"]
        if case .string(let name)? = last({ $0.defaultName }), !name.isEmpty { names.insert(name, at: 0) }
        for name in names where name != ProgramLayout.runtimeName {
            let option = last { $0.runtimes + [name, "options", "SystemdCgroup"] }
            if case .boolean(let isOn)? = option { return isOn }
        }
        return nil
    }

    /// Makes our handler the default where that has a place already; returns the lines for the end of the file if it
    /// has none.
    private func setDefault(
        in text: inout EditedText,
        _ document: Document,
        _ tables: Tables
    ) throws(Failure) -> [String] {
        let name = "\"\(ProgramLayout.runtimeName)\""
        if let former = document.value(at: tables.defaultName) {
            guard case .string(let word) = former, let range = document.range(ofValueAt: tables.defaultName) else {
                throw Failure("cannot change \(path)", because: "its default_runtime_name is no plain string")
            }
            try requirePlainName(word, path)
            text.formerDefault = word
            text.replace(range, with: name)
        } else if let offset = document.contentOffset(ofTableAt: tables.containerd) {
            let isOpen = offset > 0 && text.bytes[offset - 1] != UInt8(ascii: "\n")
            let lines = MarkedBlock.text(["default_runtime_name = \(name)"], of: .containerd, indentation: "  ")
            text.replace(offset..<offset, with: (isOpen ? "\n" : "") + lines)
        } else {
            return [Tables.header(tables.containerd), "  default_runtime_name = \(name)"]
        }
        return []
    }

    public func remove(from text: inout EditedText, _ former: FormerEntries) throws(Failure) {
        let document = try Document(parsing: text.bytes, path: path)
        let tables = try Tables(of: document, path)
        let count = text.splices.count
        try MarkedBlock.cut(from: &text, path)
        guard text.splices.count > count else { return try requireNone(document, tables) }
        var after = try Document(parsing: text.bytes, path: "\(path) without our entries")
        let isOurs = after.value(at: tables.defaultName) == .string(ProgramLayout.runtimeName)
        if isOurs, let range = after.range(ofValueAt: tables.defaultName) {
            text.replace(range, with: "\"\(former.defaultRuntime ?? "runc")\"")
            after = try Document(parsing: text.bytes, path: "\(path) without our entries")
        }
        try Meaning.require(after, document, differingAt: [tables.ours, tables.runc, tables.defaultName], path)
    }

    /// Throws if our entries are there without the comments around them, which a program has dropped that wrote the file anew.
    private func requireNone(_ document: Document, _ tables: Tables) throws(Failure) {
        guard case .string(let program)? = document.value(at: tables.ours + ["options", "BinaryName"]),
            ProgramLayout.isRuntime(program)
        else { return }
        throw Failure(
            "cannot change \(path)",
            because: "the comments around our entries are gone, so that they cannot be told from others",
            hint: "take out \(Tables.header(tables.ours)) and what names it, by hand"
        )
    }

    static func foreign(_ path: String) -> Failure {
        Failure(
            "cannot change \(path)",
            because: "it has a runtime \"\(ProgramLayout.runtimeName)\" that vtpmctl did not put there",
            hint: "give that one another name"
        )
    }
}
