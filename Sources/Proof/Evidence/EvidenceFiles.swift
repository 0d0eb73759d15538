import Glibc
import Platform

/// Files of a new directory, each of which a tool of others reads as it is.
public struct EvidenceFiles {
    private var files: [(name: String, content: [UInt8])] = []

    /// Begins with none.
    public init() {}

    /// Adds a file.
    public mutating func add(_ name: String, _ content: [UInt8]) { files.append((name, content)) }

    /// Makes the directory with all files in it; whoever may read them is the caller's choice, by the umask.
    ///
    /// - Throws: ``Failure`` if there is something of its name, or if a file cannot be written; what was made stays then.
    public func write(to path: String) throws(Failure) {
        try systemCall("mkdir", "cannot create \(path)") { mkdir(path, 0o777) }
        let directory = try Descriptor.open(path, .directory)
        for (name, content) in files {
            let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_EXCL, mode: 0o666)
            try Descriptor.open(name, options, at: directory.number, as: "\(path)/\(name)").writeAll(content, name)
        }
    }
}
