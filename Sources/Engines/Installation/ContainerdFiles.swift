import Glibc
import Platform
import TOMLText

/// The files that containerd reads: its own and those that it imports, in the order in which they are read.
///
/// containerd 1 takes a plugin's whole table from the last file that has it. containerd 2 merges the tables, and of two
/// values the later one holds. cmd/containerd/server/config/config.go, `LoadConfig`
struct ContainerdFiles {
    /// The files by their paths; the first one is containerd's own.
    private(set) var files: [(path: String, document: Document)] = []
    private static let what = "cannot put containerd's entries into force"
    private let isMerging: Bool
    private let version: VersionNumber?
    private let host: EngineHost
    private let own: String

    /// Reads all files from containerd's own on, as if there were one at the path `own`.
    ///
    /// - Throws: ``Failure`` if containerd itself could not read them.
    init(from main: String, of version: VersionNumber?, with own: String, on host: EngineHost) throws(Failure) {
        let first = try host.files.look(main).map { (bytes) throws(Failure) in try Document(parsing: bytes, path: main)
        }
        // Only containerd 2 reads version 3.
        isMerging = version.map { $0 >= VersionNumber(2, 0) } ?? (first?.fileVersion ?? 0 >= 3)
        (self.version, self.host, self.own) = (version, host, own)
        var pending = [main]
        var known: Set<String> = []
        while let path = pending.first {
            pending.removeFirst()
            guard known.insert(path).inserted else { continue }
            let bytes = try host.files.look(path)
            guard bytes != nil || path == main || path == own else {
                throw Failure(
                    Self.what,
                    because: "\(path) is not there, which another of its files imports",
                    hint: "take it out of imports"
                )
            }
            let document = try Document(parsing: bytes ?? [], path: path)
            files.append((path, document))
            pending += try imports(of: document, path)
        }
    }

    /// The documents of all files but our own.
    var others: [Document] { files.filter { $0.path != own }.map(\.document) }

    /// Returns why what `own` has of ours would have no effect; nil if it has one.
    ///
    /// By the way out, ours does not have to be the default.
    func flaw(isDefault: Bool, wayOut: String) -> Failure? {
        func flaw(_ why: String, _ hint: String) -> Failure { Failure(Self.what, because: why, hint: hint) }
        var isLater = false
        for (path, document) in files {
            if path == own {
                isLater = true
                continue
            }
            for tables in ContainerdText.Tables.all where document.value(at: tables.plugin) != nil {
                let name = ContainerdText.Tables.header(tables.plugin)
                if !isMerging {
                    guard isLater else { continue }
                    let why = "containerd 1 takes all of \(name) from \(path), which it reads after \(own)"
                    return flaw(why, "move that table into \(own)")
                }
                if document.value(at: tables.ours) != nil {
                    let why = "\(path) has a runtime \"\(ProgramLayout.runtimeName)\" of its own"
                    return flaw(why, "give that one another name")
                }
                if isDefault, isLater, case .string(let other)? = document.value(at: tables.defaultName),
                    !other.isEmpty, other != ProgramLayout.runtimeName
                {
                    let why = "\(path), which containerd reads after \(own), makes \(other) the default runtime"
                    return flaw(why, "take that out, or \(wayOut)")
                }
            }
        }
        return isLater ? nil : flaw("containerd does not read \(own)", "import it in \(files[0].path)")
    }

    /// Why nothing reads our entries; nil if the CRI plugin does.
    var disabledCRI: String? {
        let names = ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"]
        let path = files.first { file in
            // The lists of all files hold together.
            guard case .array(let disabled)? = file.document.value(at: ["disabled_plugins"]) else { return false }
            return disabled.contains { if case .string(let name) = $0 { names.contains(name) } else { false } }
        }?.path
        return path.map { "\($0) disables the CRI plugin, which is what reads the entries" }
    }

    /// Returns the paths that a file imports. config.go, `resolveImports`
    private func imports(of document: Document, _ path: String) throws(Failure) -> [String] {
        guard case .array(let elements)? = document.value(at: ["imports"]) else { return [] }
        var folders = ["\(path)/.."]
        var found: [String] = []
        for case .string(let name) in elements {
            let isPattern = name.contains("*")
            // The earlier ones of containerd 1.6 look for patterns from their working directory, which is / under systemd.
            if isPattern, version.map({ $0 < VersionNumber(1, 7) }) ?? !isMerging { folders.append("/") }
            let bases = name.hasPrefix("/") ? [""] : isPattern ? folders : [folders[0]]
            for base in bases {
                let whole = EngineFiles.clean("\(base)/\(name)")
                found += try isPattern ? matches(of: whole) : [whole]
            }
        }
        return found
    }

    /// Returns the paths that match a pattern, in ascending order, and our own if it would.
    private func matches(of pattern: String) throws(Failure) -> [String] {
        var found = [""]
        for part in pattern.split(separator: "/").map(String.init) {
            var next: [String] = []
            for folder in found {
                if part.contains(where: { "*?[\\".contains($0) }) {
                    next += try names(in: folder).filter { fnmatch(part, $0, 0) == 0 }.map { "\(folder)/\($0)" }
                } else {
                    next.append("\(folder)/\(part)")
                }
            }
            found = next
        }
        return found.filter { $0 == own || host.exists($0) }
    }

    private func names(in folder: String) throws(Failure) -> [String] {
        var names: [String]
        do {
            names = try host.names(in: folder.isEmpty ? "/" : folder, ending: "")
        } catch let error where error.code == ENOTDIR {
            return []
        }
        if let end = own.lastIndex(of: "/"), own[..<end] == folder {
            let name = String(own[own.index(after: end)...])
            if !names.contains(name) { names = (names + [name]).sorted() }
        }
        return names
    }
}

extension Document {
    /// The version of a file of containerd's; nil if it names none.
    var fileVersion: Int? { if case .integer(let version)? = value(at: ["version"]) { version } else { nil } }
}

extension Places {
    private func containerdVersion() -> VersionNumber? { host.version("containerd").flatMap { VersionNumber(in: $0) } }

    /// Returns containerd's file that gets our entries, and these.
    func containerd(isDefault: Bool) throws(Failure) -> (path: String, text: any EngineText) {
        let version = containerdVersion()
        let main = try document(Self.containerd)
        let isDropIn = main.map { ContainerdText.importsDropIns($0) } ?? false
        if isDropIn, let main {
            let tables = try ContainerdText.Tables(of: main, Self.containerd)
            guard main.value(at: tables.ours) == nil else { throw ContainerdText.foreign(Self.containerd) }
        }
        let path = isDropIn ? Self.containerdDropIn : Self.containerd
        let isNew = version.map { $0 >= VersionNumber(2, 0) } ?? false
        let text = ContainerdText(
            path: path,
            wrapper: host.layout.runtime,
            isDefault: isDefault,
            newVersion: isDropIn || isNew ? 3 : 2,
            isDropIn: isDropIn,
            others: try ContainerdFiles(from: Self.containerd, of: version, with: path, on: host).others
        )
        return (path, text)
    }

    /// The files that the engine's containerd reads, with our entries in one of them; nil if it has none.
    ///
    /// For containerd itself that is the file at `own`, or else the one that an installation changes.
    func containerdFiles(with own: String? = nil) throws(Failure) -> ContainerdFiles? {
        switch engine {
        case .containerd:
            let path: String
            if let own { path = own } else { path = try containerd(isDefault: false).path }
            return try ContainerdFiles(from: Self.containerd, of: containerdVersion(), with: path, on: host)
        case .k3s:
            // What k3s writes of the template at its next start imports what its present file imports.
            let path = "\(Self.k3s)/config.toml"
            guard host.exists(path) else { return nil }
            return try ContainerdFiles(from: path, of: nil, with: path, on: host)
        default: return nil
        }
    }

    /// Returns why another file that the engine reads takes our entries out of force; nil if none does.
    ///
    /// For containerd itself `own` is the file that has them, or else the one that an installation changes.
    func flaw(isDefault: Bool, wayOut: String, of own: String? = nil) throws(Failure) -> Failure? {
        if let files = try containerdFiles(with: own) { return files.flaw(isDefault: isDefault, wayOut: wayOut) }
        return isDefault ? try laterDefault(wayOut: wayOut) : nil
    }
}
