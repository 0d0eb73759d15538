import Platform
import TOMLText

/// A TOML file of our own in a folder from which an engine reads several.
public struct DropInText: EngineText {
    let path: String
    let engine: Engine
    /// The keys of the default runtime.
    let defaultKeys: [String]
    let lines: [String]

    public var base: [UInt8] { [] }

    /// CRI-O's: a runtime, and whether it is the default. crio.conf(5)
    public static func crio(path: String, wrapper: String, isDefault: Bool) -> DropInText {
        let name = ProgramLayout.runtimeName
        let head = isDefault ? ["[crio.runtime]", "default_runtime = \"\(name)\""] : []
        let handler = ["[crio.runtime.runtimes.\(name)]", "runtime_path = \"\(wrapper)\"", "runtime_type = \"oci\""]
        let keys = ["crio", "runtime", "default_runtime"]
        return DropInText(path: path, engine: .crio, defaultKeys: keys, lines: head + handler)
    }

    /// podman's: a runtime, and whether it is the default. containers.conf(5)
    public static func podman(path: String, wrapper: String, isDefault: Bool) -> DropInText {
        let name = ProgramLayout.runtimeName
        let head = isDefault ? ["[engine]", "runtime = \"\(name)\""] : []
        let table = ["[engine.runtimes]", "\(name) = [\"\(wrapper)\"]"]
        return DropInText(path: path, engine: .podman, defaultKeys: ["engine", "runtime"], lines: head + table)
    }

    private var block: [UInt8] { Array(MarkedBlock.text(lines, of: engine).utf8) }

    public func isComplete(_ text: [UInt8]) throws(Failure) -> Bool { text == block }

    public func isDefault(in text: [UInt8]) throws(Failure) -> Bool {
        try Document(parsing: text, path: path).value(at: defaultKeys) == .string(ProgramLayout.runtimeName)
    }

    public func add(to text: inout EditedText) throws(Failure) {
        guard text.bytes.isEmpty else {
            throw Failure(
                "cannot change \(path)",
                because: "somebody else has written into it",
                hint: "rm \(path.shellWord)"
            )
        }
        text.become(block)
    }

    public func remove(from text: inout EditedText, _ former: FormerEntries) throws(Failure) {
        try MarkedBlock.cut(from: &text, path)
    }
}

/// A file in JSON that is all ours: a hook for a folder of hooks, or a device of the Container Device Interface.
public struct OwnText: EngineText {
    let path: String
    /// What a new file has.
    let content: [UInt8]
    /// The hook that it leads to.
    let hook: String

    /// Creates the file, which errors call `path`.
    public init(path: String, content: String, hook: String) {
        (self.path, self.content, self.hook) = (path, Array(content.utf8), hook)
    }

    public var base: [UInt8] { [] }

    /// `make install` or somebody else may have put it there, with other spaces or another timeout.
    ///
    /// One that leads to the hook of another installation is replaced.
    public func isComplete(_ text: [UInt8]) throws(Failure) -> Bool {
        let hooks = try HookFiles.hooks(in: text, path)
        return !hooks.isEmpty && hooks.allSatisfy { $0 == hook }
    }

    public func add(to text: inout EditedText) throws(Failure) {
        guard text.bytes.isEmpty else {
            throw Failure("cannot change \(path)", because: "it is not ours", hint: "give that file another name")
        }
        text.become(content)
    }

    public func remove(from text: inout EditedText, _ former: FormerEntries) throws(Failure) {
        let hooks = try HookFiles.hooks(in: text.bytes, path)
        guard !hooks.isEmpty, hooks.allSatisfy({ ProgramLayout.isHook($0) }) else { return }
        text.become([])
    }
}
