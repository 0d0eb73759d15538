import JSONText
import Platform

/// The configuration of dockerd, daemon.json. dockerd(8), "Daemon configuration file"
public struct DockerText: EngineText {
    /// What is to be in it.
    public enum Entry: Equatable, Sendable {
        /// The runtime wrapper, and whether it is the default.
        case runtime(String, isDefault: Bool)
        /// The switch for the Container Device Interface.
        case cdi
        /// Nothing more than there is.
        case none
    }

    let path: String
    let entry: Entry
    /// The limit for the size of an engine's file, in bytes.
    public static let limit = 1 << 20

    /// Creates the change of the file, which errors call `path`.
    public init(path: String, _ entry: Entry) { (self.path, self.entry) = (path, entry) }

    public var base: [UInt8] { Array("{\n}\n".utf8) }

    private static let runtime = ["runtimes", ProgramLayout.runtimeName]
    private static let defaultRuntime = ["default-runtime"]
    private static let cdi = ["features", "cdi"]

    private func parse(_ bytes: [UInt8]) throws(Failure) -> JSONText {
        let text = try JSONText(parsing: bytes, path: path, limit: Self.limit)
        guard text.root.members != nil else { throw Failure("cannot change \(path)", because: "it is no JSON object") }
        return text
    }

    public func isComplete(_ text: [UInt8]) throws(Failure) -> Bool {
        let json = try parse(text)
        switch entry {
        case .runtime(let wrapper, let isDefault):
            guard json.value(at: Self.runtime + ["path"])?.string == wrapper else { return false }
            guard isDefault else { return true }
            return try self.isDefault(in: text)
        case .cdi: return json.value(at: Self.cdi)?.bool == true
        case .none: return true
        }
    }

    public func isDefault(in text: [UInt8]) throws(Failure) -> Bool {
        try parse(text).value(at: Self.defaultRuntime)?.string == ProgramLayout.runtimeName
    }

    public func add(to text: inout EditedText) throws(Failure) {
        var json = try parse(text.bytes)
        switch entry {
        case .none: return
        case .cdi: try json.set("true", at: Self.cdi)
        case .runtime(let wrapper, let isDefault):
            guard json.value(at: Self.runtime) == nil else {
                throw Failure(
                    "cannot change \(path)",
                    because: "its runtime \"\(ProgramLayout.runtimeName)\" is another program than ours",
                    hint: "give that one another name"
                )
            }
            try json.set(JSONText.quoted(wrapper), at: Self.runtime + ["path"])
            text.become(json.bytes)
            guard isDefault else { return }
            if let former = json.value(at: Self.defaultRuntime) {
                let name = former.string ?? ""
                try requirePlainName(name, path)
                text.formerDefault = name
            }
            try json.set(JSONText.quoted(ProgramLayout.runtimeName), at: Self.defaultRuntime)
        }
        text.become(json.bytes)
    }

    public func remove(from text: inout EditedText, _ former: FormerEntries) throws(Failure) {
        var json = try parse(text.bytes)
        if former.switchedCDIOn {
            try json.removeMember(at: Self.cdi)
            try removeIfEmpty("features", &json)
        }
        guard ProgramLayout.isRuntime(json.value(at: Self.runtime + ["path"])?.string) else {
            return text.become(json.bytes)
        }
        try json.removeMember(at: Self.runtime)
        try removeIfEmpty("runtimes", &json)
        if json.value(at: Self.defaultRuntime)?.string == ProgramLayout.runtimeName {
            if let name = former.defaultRuntime {
                try json.set(JSONText.quoted(name), at: Self.defaultRuntime)
            } else {
                try json.removeMember(at: Self.defaultRuntime)
            }
        }
        text.become(json.bytes)
    }

    private func removeIfEmpty(_ name: String, _ json: inout JSONText) throws(Failure) {
        if json.root[name]?.members?.isEmpty ?? false { try json.removeMember(at: [name]) }
    }
}
