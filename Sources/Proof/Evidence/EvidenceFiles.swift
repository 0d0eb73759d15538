import Glibc
import Platform

/// Files by their names, each of which a tool of others reads as it is: a directory, or one file with all of them.
public struct EvidenceFiles: Equatable, Sendable {
    /// A file.
    struct File: Equatable {
        let name: String
        let content: [UInt8]
    }

    private(set) var all: [File] = []
    /// Where they come from, for errors.
    let path: String

    /// The largest file, in bytes.
    static let fileLimit = 1 << 20

    /// Begins with none.
    public init() { path = "" }

    /// Takes over files that were read.
    init(_ files: [File], from path: String) {
        all = files
        self.path = path
    }

    /// Adds a file.
    public mutating func add(_ name: String, _ content: [UInt8]) { all.append(File(name: name, content: content)) }

    /// Returns the contents of a file; throws if it is missing.
    func content(of name: String) throws(Failure) -> [UInt8] {
        guard let content = find(name) else { throw Failure("cannot read \(path)/\(name)", because: "it is missing") }
        return content
    }

    /// Returns the contents of a file; nil if it is missing.
    func find(_ name: String) -> [UInt8]? { all.first { $0.name.utf8.elementsEqual(name.utf8) }?.content }
}

// MARK: - A directory

extension EvidenceFiles {
    /// Makes the directory with all files in it; whoever may read them is the caller's choice, by the umask.
    ///
    /// - Throws: ``Failure`` if there is something of its name, or if a file cannot be written; nothing is left then.
    public func write(to path: String) throws(Failure) {
        try Self.write(to: path) { (files) throws(Failure) in files = self }
    }

    /// The same, with files that `complete` adds once the directory is there.
    public static func write(
        to path: String,
        complete: (inout EvidenceFiles) throws(Failure) -> Void
    ) throws(Failure) {
        try systemCall("mkdir", "cannot create \(path)") { mkdir(path, 0o777) }
        var files = EvidenceFiles()
        do throws(Failure) {
            // Before what takes its time: a name can lead elsewhere by then.
            let directory = try Descriptor.open(path, OpenOptions(O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
            try complete(&files)
            do throws(Failure) {
                for file in files.all {
                    let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_EXCL, mode: 0o666)
                    let name = "\(path)/\(file.name)"
                    try Descriptor.open(file.name, options, at: directory.number, as: name).writeAll(file.content, name)
                }
            } catch {
                for file in files.all { try? remove(file.name, at: directory, file.name) }
                throw error
            }
        } catch {
            rmdir(path)
            throw error
        }
    }

    /// Reads those files of a directory that are there.
    init(_ names: [String], inDirectory path: String) throws(Failure) {
        let directory = try Descriptor.open(path, .directory)
        var files: [File] = []
        for name in names {
            let place = "\(path)/\(name)"
            do throws(Failure) {
                let opened = try Descriptor.openFile(name, .beneath(O_RDONLY), at: directory.number, as: place)
                files.append(File(name: name, content: try opened.readAll(limit: Self.fileLimit, place)))
            } catch {
                guard error.code == ENOENT else { throw error }
            }
        }
        self.init(files, from: path)
    }
}
