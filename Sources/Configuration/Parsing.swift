import Platform
import RuntimePCR
import TOMLText
import VTPMProxy

extension Configuration {
    /// Parses the contents of a file; errors call it `path` and give the line.
    public init(parsing contents: [UInt8], path: String) throws(Failure) {
        let root = try Section(
            of: Document(parsing: contents, path: path),
            file: path,
            known: [
                "container", "state", "retention", "manufacture", "authority", "device", "key", "host-tpm", "rollback",
                "runtime", "launch", "proof",
            ]
        )
        self.init()
        if let section = try root.section("container", known: ["tpm", "opt-out"]) {
            container.selection = try section.choice("tpm") ?? container.selection
            container.allowsOptOut = try section.boolean("opt-out") ?? container.allowsOptOut
            guard container.selection == .all || !section.gives("opt-out") else {
                throw section.refusal(of: "opt-out", "is not used with tpm = \"annotated\"")
            }
        }
        if let section = try root.section("state", known: State.names) {
            state = try State(section)
        }
        if let section = try root.section("retention", known: ["unused-for"]) {
            retention.unusedFor = try section.timeSpan("unused-for")
        }
        if let section = try root.section("manufacture", known: Manufacture.names) {
            manufacture = try Manufacture(section)
        }
        if let section = try root.section("authority", known: ["key", "command", "timeout", "certificates", "crl-url"])
        {
            authority.files = try section.authorityFiles()
            authority.listURL = try section.listURL("crl-url") ?? ""
        }
        if let section = try root.section("launch", known: Launch.names) {
            launch = try Launch(section)
        }
        if let section = try root.section("device", known: ["group"]) {
            device.group = try section.group("group")
        }
        if let section = try root.section("key", known: Key.names + ["next"]) {
            key = try Key(section)
            if let next = try section.section("next", known: Key.names) {
                nextKey = try Key(next)
                guard nextKey != key else {
                    throw next.refusal(
                        "is the same key as [key]",
                        hint: "leave it out until the key is to be rotated"
                    )
                }
            }
        }
        if let section = try root.section("host-tpm", known: ["device", "pcrs"]) {
            hostTPM.device = try section.path("device")
            if let pcrs = try section.string("pcrs") {
                guard (try? PCRSelection(parsing: pcrs)) != nil else {
                    throw section.refusal(
                        of: "pcrs",
                        "cannot be \"\(pcrs.excerpt)\"",
                        hint: "for example \"sha256:0-4,7\" or \"sha256:7+sha384:0\""
                    )
                }
                hostTPM.pcrs = pcrs
            }
        }
        if let section = try root.section("proof", known: ["pcrs"]), let pcrs = try section.string("pcrs") {
            guard let selection = try? PCRSelection(parsing: pcrs), selection.banks.map(\.name) == ["sha256"] else {
                throw section.refusal(
                    of: "pcrs",
                    "cannot be \"\(pcrs.excerpt)\"",
                    hint: "it selects PCRs of the bank sha256, for example \"sha256:0-7\""
                )
            }
            proof.pcrs = pcrs
        }
        runtime = try Runtime(in: root) ?? runtime
        if key == .hostTPM { rollback.counter = .hostTPM }
        if let section = try root.section("rollback", known: ["counter", "nv-index"]) {
            rollback.counter = try section.choice("counter") ?? rollback.counter
            let range = Int(Rollback.ownerIndices.lowerBound)...Int(Rollback.ownerIndices.upperBound)
            if let index = try section.integer("nv-index", in: range, radix: 16) { rollback.nvIndex = UInt32(index) }
        }
    }
}

extension Section {
    /// Returns a URL of HTTP; nil if the key is missing. RFC 5280, 4.2.1.13
    fileprivate func listURL(_ key: String) throws(Failure) -> String? {
        guard let url = try string(key) else { return nil }
        let isPlain = url.utf8.allSatisfy { (0x21...0x7e).contains($0) } && url.utf8.count <= 512
        guard isPlain, url.hasPrefix("http://") || url.hasPrefix("https://") else {
            throw refusal(of: key, "must be a URL of HTTP with at most 512 bytes, not \"\(url.excerpt)\"")
        }
        return url
    }

    /// Returns the files of the operator's own authority; nil if the table names none.
    fileprivate func authorityFiles() throws(Failure) -> Configuration.Authority.Files? {
        let (key, command) = (try path("key"), try command("command"))
        guard key == nil || command == nil else { throw refusal(of: "command", "is not used beside \"key\"") }
        let timeout = try integer("timeout", in: 1...20)
        guard timeout == nil || command != nil else { throw refusal(of: "timeout", "is not used without \"command\"") }
        guard let certificates = try path("certificates") else {
            if key == nil, command == nil { return nil }
            throw refusal("needs \"certificates\" beside \"\(key == nil ? "command" : "key")\"")
        }
        if let key { return .init(key: key, certificates: certificates) }
        guard let command else { throw refusal("needs \"key\" beside \"certificates\"") }
        return .init(key: .command(command, timeout: timeout ?? 10), certificates: certificates)
    }
}

extension Configuration.Runtime {
    /// Reads `[runtime]`; returns nil if there is no such table.
    init?(in root: Section) throws(Failure) {
        guard let section = try root.section("runtime", known: ["path"]) else { return nil }
        path = try section.path("path")
    }
}

extension Configuration.Key {
    /// The values of the key `source`.
    enum Source: String, CaseIterable {
        case file
        case credential
        case command
        case hostTPM = "host-tpm"

        /// The other keys of the table that this source uses.
        var names: [String] {
            switch self {
            case .file: ["file"]
            case .credential: ["credential", "directory"]
            case .command: ["command", "timeout"]
            case .hostTPM: []
            }
        }
    }

    /// All keys of the tables `[key]` and `[key.next]`.
    static let names = ["source"] + Source.allCases.flatMap(\.names)

    /// Reads `[key]` or `[key.next]`.
    ///
    /// A key that another source uses is an error, since its author expects it to have an effect.
    init(_ section: Section) throws(Failure) {
        let source = try section.choice("source", Source.self) ?? .file
        for name in Self.names where name != "source" && !source.names.contains(name) && section.gives(name) {
            throw section.refusal(of: name, "is not used by the source \"\(source.rawValue)\"")
        }
        switch source {
        case .file: self = .file(path: try section.path("file") ?? Self.standardFile)
        case .credential:
            let name = try section.string("credential") ?? "container-vtpm.key"
            guard Self.isCredentialName(name) else {
                throw section.refusal(of: "credential", "must be the name of a credential, not \"\(name.excerpt)\"")
            }
            self = .credential(name: name, directory: try section.path("directory"))
        case .command:
            guard let command = try section.command("command") else {
                throw section.refusal("needs \"command\" for the source \"command\"")
            }
            self = .command(command, timeout: try section.integer("timeout", in: 1...60) ?? 10)
        case .hostTPM: self = .hostTPM
        }
    }

    /// Returns whether a name is valid for a credential: a file name of printable ASCII without colons. systemd.exec(5)
    static func isCredentialName(_ name: String) -> Bool {
        (1...255).contains(name.utf8.count) && name != "." && name != ".."
            && name.utf8.allSatisfy { (0x20...0x7e).contains($0) && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ":") }
    }
}

extension Section {
    /// Returns a time span in seconds; nil if the key is missing.
    func timeSpan(_ key: String) throws(Failure) -> UInt64? {
        guard let text = try string(key) else { return nil }
        guard let seconds = TimeSpan.seconds(text) else {
            throw refusal(of: key, "must be a time, not \"\(text.excerpt)\"", hint: TimeSpan.example)
        }
        return seconds
    }

    /// Returns the retention of states of random IDs; nil if the key is missing.
    func randomIDs(_ key: String) throws(Failure) -> Configuration.State.RandomIDs? {
        switch try string(key) {
        case nil: return nil
        case "persistent": return .persistent
        case "ephemeral": return .ephemeral
        case .some(let text):
            guard let seconds = TimeSpan.seconds(text) else {
                throw refusal(
                    of: key,
                    "must be \"persistent\", \"ephemeral\" or a time, not \"\(text.excerpt)\"",
                    hint: TimeSpan.example
                )
            }
            return .kept(seconds)
        }
    }

    /// Returns a group's ID or name; nil if the key is missing.
    func group(_ key: String) throws(Failure) -> Configuration.Device.Group? {
        typealias Group = Configuration.Device.Group
        guard holdsInteger(key) else {
            guard let name = try string(key) else { return nil }
            guard Group.isName(name) else {
                throw refusal(of: key, "must be a group's ID or its name, not \"\(name.excerpt)\"")
            }
            return .name(name)
        }
        let ids = Int(Group.ids.lowerBound)...Int(Group.ids.upperBound)
        return try integer(key, in: ids).map { .id(UInt32($0)) }
    }
}

extension Configuration.Device.Group {
    /// Returns whether a text is valid as a group's name: printable ASCII without colons, and not only digits. group(5)
    ///
    /// Digits alone would be taken for an ID.
    static func isName(_ name: String) -> Bool {
        (1...255).contains(name.utf8.count)
            && name.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != UInt8(ascii: ":") }
            && !name.utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains)
    }
}
