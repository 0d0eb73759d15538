import Glibc
import Platform

/// The host whose engines are configured.
public struct EngineHost: Sendable {
    /// What precedes every path: empty on the real host.
    let root: String
    /// The user who must own what engines read.
    let owner: uid_t
    /// Where this project's programs are.
    public let layout: ProgramLayout
    /// Returns what a program of the host prints when asked for its version; nil if it is not installed.
    let version: @Sendable (_ program: String) -> String?

    /// The folder of the records, one for each engine.
    static let records = "/var/lib/container-vtpm/engines"

    /// Creates the host; tests have a root folder and an owner of their own.
    public init(
        _ layout: ProgramLayout,
        root: String = "",
        owner: uid_t = 0,
        version: @escaping @Sendable (_ program: String) -> String?
    ) {
        self.layout = layout
        self.root = root
        self.owner = owner
        self.version = version
    }

    var files: EngineFiles { EngineFiles(root: root, owner: owner) }

    /// Whether a path leads to something that may be executed.
    func isExecutable(_ path: String) -> Bool { access(root + path, X_OK) == 0 }

    func exists(_ path: String) -> Bool { access(root + path, F_OK) == 0 }

    /// The names in a folder that end so, in ascending order; none if there is no such folder.
    func names(in folder: String, ending suffix: String) throws(Failure) -> [String] {
        guard exists(folder) else { return [] }
        return try entries(of: .open(root + folder, .directory, as: folder), folder).filter { $0.hasSuffix(suffix) }
            .sorted()
    }

    /// Whether an engine's program is installed.
    public func isInstalled(_ engine: Engine) -> Bool {
        let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        return folders.contains { isExecutable("\($0)/\(engine.program)") }
    }

    /// The record of an engine; nil if nothing was installed.
    func record(of engine: Engine) throws(Failure) -> Record? {
        let path = "\(Self.records)/\(engine.rawValue).json"
        let file: Descriptor
        do {
            file = try .openFile(root + path, OpenOptions(O_RDONLY | O_NOFOLLOW), as: path)
        } catch let error where error.code == ENOENT {
            return nil
        }
        return try Record(parsing: file.readAll(limit: 1 << 20, path), path: path)
    }

    /// Writes the record of an engine, or removes it.
    func keep(_ record: Record?, of engine: Engine) throws(Failure) {
        let folder = try openOwnDirectory(root + Self.records)
        let name = "\(engine.rawValue).json"
        let path = "\(Self.records)/\(name)"
        if let record {
            let new = ".\(name).new"
            try remove(new, at: folder, path)
            let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
            let file = try Descriptor.open(new, options, at: folder.number, as: path)
            try file.writeAll(record.text, path)
            try file.synchronize(path)
            let number = folder.number
            try systemCall("renameat", "cannot write \(path)") { renameat(number, new, number, name) }
        } else {
            try remove(name, at: folder, path)
        }
        try folder.synchronize(path)
    }

    /// Runs `body` while no other process changes engines' files for this project.
    func withLock<Result>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        let folder = try openOwnDirectory(root + Self.records)
        let lock = try FileLock(directory: folder, until: Deadline(milliseconds: 10_000), Self.records)
        return try lock.run(body)
    }
}
