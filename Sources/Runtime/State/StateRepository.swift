import Crypto
import Glibc
import Platform

/// A host's states, with the keys and the index that are needed to use them.
public final class StateRepository {
    /// The states directory's path, for errors.
    public let path: String
    /// The master keys.
    public let keys: KeyRing
    /// The index of the host's states.
    public let index: HostIndex
    package let directory: Descriptor
    package let disk: any Disk
    /// The size of a block of the file system that the states are on, as far as a state's slots respect it, in bytes.
    let unit: Int

    /// Creates a repository in the open directory of that path.
    public init(
        in directory: consuming Descriptor,
        path: String,
        keys: KeyRing,
        index: HostIndex,
        disk: any Disk = LocalDisk()
    ) {
        self.path = path
        self.keys = keys
        self.index = index
        self.unit = StateSlots.unit(in: directory)
        self.directory = directory
        self.disk = disk
    }

    /// Returns whether a host has never had a state; only then a key or an index is created.
    public static func isUnused(
        states: borrowing Descriptor,
        indexDirectory: borrowing Descriptor
    ) throws(Failure) -> Bool {
        guard !HostIndex.exists(in: indexDirectory) else { return false }
        return try hasNone(states)
    }

    /// Returns whether there is nothing that can be a state; a directory without a file is only about to be one.
    private static func hasNone(_ states: borrowing Descriptor) throws(Failure) -> Bool {
        for name in try entries(of: states, "the states directory") where StateDirectoryName.isEncoded(name) {
            if try hasFile(name, in: states) { return false }
        }
        return true
    }

    /// Returns the names of all states' directories, in ascending order.
    public func names() throws(Failure) -> [String] {
        try entries(of: directory, "the states directory").filter(StateDirectoryName.isEncoded).sorted()
    }

    /// Returns whether there is no state at all.
    package func isEmpty() throws(Failure) -> Bool { try Self.hasNone(directory) }

    /// Returns the path of a state's directory, for errors.
    package func path(of name: String) -> String { "\(path)/\(name)" }

    /// Opens a state's directory; returns nil if there is none.
    package func open(_ name: String) throws(Failure) -> Descriptor? {
        do {
            let options = OpenOptions.beneath(O_RDONLY | O_DIRECTORY)
            return try .open(name, options, at: directory.number, as: path(of: name))
        } catch let error where error.code == ENOENT {
            return nil
        } catch let error where error.code == ENOTDIR || error.code == ELOOP {
            throw stranger(name)
        }
    }

    /// Opens a state's directory; returns nil also if it is no state.
    ///
    /// That is anything else than a directory, and a directory without a state file, unless the index knows that there
    /// was one.
    package func openState(_ name: String) throws(Failure) -> Descriptor? {
        do {
            guard let directory = try open(name) else { return nil }
            if try !hasFile(name), try index.entry(name)?.generation ?? 0 == 0 { return nil }
            return directory
        } catch let error where error.code == ENOTDIR {
            return nil
        }
    }

    /// Returns the error about something in the states directory that is no state.
    package func stranger(_ name: String, _ why: String = "it is no directory") -> Failure {
        Failure(
            "cannot use \(path(of: name)) as a state",
            because: why,
            code: ENOTDIR,
            hint: "nothing of this program's: move it away"
        )
    }

    /// Writes a state's file anew; returns it, and its header with where the payload is.
    @discardableResult
    package func write(
        _ header: StateFile,
        _ payload: StatePayload,
        _ keys: InstanceKeys,
        in directory: borrowing Descriptor,
        path: String
    ) throws(Failure) -> StateFile {
        let (written, content) = try header.encode(payload, keys: keys, unit: unit)
        try disk.replace(StateStore.fileName, in: directory, with: content, as: path)
        return written
    }

    /// Reads the state file in an open directory, of ``StateFile/sizeLimit`` bytes at most.
    package func read(in directory: borrowing Descriptor, _ name: String) throws(Failure) -> [UInt8] {
        try Self.readFile(in: directory, path: filePath(name))
    }

    static func readFile(in directory: borrowing Descriptor, path: String) throws(Failure) -> [UInt8] {
        try openFile(in: directory, O_RDONLY, path: path).readAll(limit: StateFile.sizeLimit, path)
    }

    static func openFile(
        in directory: borrowing Descriptor,
        _ access: CInt,
        path: String
    ) throws(Failure) -> Descriptor {
        do {
            return try .openFile(StateStore.fileName, .beneath(access), at: directory.number, as: path)
        } catch let error where error.code == ENOENT {
            throw lost(path)
        }
    }

    package func filePath(_ name: String) -> String { "\(path(of: name))/\(StateStore.fileName)" }

    /// Returns the error about a state that the index has no record of.
    package func unknown(_ path: String) -> Failure {
        Failure(
            "cannot load the state \(path)",
            because: "this host's index does not know it: it was copied or restored",
            hint: "if that is meant: vtpmctl state accept"
        )
    }

    /// Throws a ``Failure`` if the index knows no such state, another instance, or a later generation.
    package func check(_ header: StateFile, against entry: IndexEntry?, path: String) throws(Failure) {
        let what = "cannot load the state \(path)"
        let accept = "if that is meant: vtpmctl state accept"
        guard let entry else { throw unknown(path) }
        try requireNotBeingRenamed(entry, what)
        guard entry.uuid == header.uuid else {
            throw Failure(
                what,
                because: "it is the instance \(Hexadecimal.encode(header.uuid)), "
                    + "and this host's index knows \(Hexadecimal.encode(entry.uuid))",
                hint: accept
            )
        }
        guard header.generation >= entry.generation else {
            throw Failure(
                what,
                because: "it is generation \(header.generation), older than the last one seen, \(entry.generation)",
                hint: "restore the newer one; \(accept)"
            )
        }
    }

    /// Throws a ``Failure`` if an interrupted rename has to be finished first, during which two names have one TPM.
    package func requireNotBeingRenamed(_ entry: IndexEntry?, _ what: String) throws(Failure) {
        guard let entry, !entry.renamedTo.isEmpty || !entry.renamedFrom.isEmpty else { return }
        throw Failure(
            what,
            because: entry.renamedTo.isEmpty
                ? "the state \"\(entry.renamedFrom)\" is being renamed to it"
                : "it is being renamed to \"\(entry.renamedTo)\"",
            hint: "finish that: vtpmctl state rename"
        )
    }
}
