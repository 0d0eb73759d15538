import Crypto
import Glibc
import Platform
import RuntimeState

/// A backup of all states of a host, made while containers run: a directory with the index and the states as a host has
/// them below `/var/lib/container-vtpm`.
///
/// No lock is held but for moments. Each state is authenticated and written anew, so that the backup has none of the
/// sectors that its user still writes, and needs the current master key alone. The index is written last, of the records
/// that the states were compared with.
public struct StateBackup {
    /// How long to wait for others that create, rename or remove states, in milliseconds.
    private static let timeout = 10_000

    private let repository: StateRepository
    /// A file with one of the host's own keys.
    public struct KeyFile {
        let name: String
        let content: SecretBytes

        /// Creates it, with its name in the host's directory of keys.
        public init(_ name: String, _ content: SecretBytes) {
            self.name = name
            self.content = content
        }
    }

    private let keyFiles: () throws(Failure) -> [KeyFile]

    /// Prepares a backup; reads and writes nothing yet.
    ///
    /// `keyFiles` returns the files of the host's own keys, under the current master key; they are read last, since a
    /// state can be certified by a key that is made meanwhile.
    public init(
        of repository: StateRepository,
        keyFiles: @escaping () throws(Failure) -> [KeyFile] = { () throws(Failure) in [] }
    ) {
        self.repository = repository
        self.keyFiles = keyFiles
    }

    /// The result of a backup.
    public struct Report: Equatable, Sendable {
        /// The number of states in the backup.
        public var copied = 0
        /// An error for each state that the host has and the backup has not.
        ///
        /// The backup's index knows such a state if the host's does: after a restore it is missing, and not forgotten.
        public var refused: [Failure] = []
    }

    /// Makes the directory `name` with the backup in it; it has that name only when it is complete and on stable storage.
    ///
    /// - Parameters:
    ///   - name: The name of the directory, of which there must be nothing yet.
    ///   - parent: The directory in which it is made, which only this process's user may change.
    ///   - path: The path of the new directory, for errors.
    ///   - progress: Called for each state, with the number of all.
    /// - Returns: What was copied, and what could not be.
    /// - Throws: ``Failure`` if the index cannot be read, or the backup not be written. Nothing is left then, but the whole
    ///   backup if only the last sync, of the name, has failed.
    public func write(
        to name: String,
        in parent: borrowing Descriptor,
        path: String,
        progress: (_ total: Int) -> Void = { _ in }
    ) throws(Failure) -> Report {
        guard try parent.status(of: name, path) == nil else {
            throw Failure("cannot create \(path)", because: "there is something of that name", code: EEXIST)
        }
        let disk = repository.disk
        let temporary = "\(Self.temporaryPrefix)\(Hexadecimal.encode(try Random.bytes(count: 8)))"
        try disk.makeDirectory(temporary, in: parent, as: path)
        do {
            let report = try fill(open(temporary, in: parent, path), path, progress)
            try disk.rename(temporary, in: parent, to: name, in: parent, as: path)
            try disk.synchronize(parent, as: path)
            return report
        } catch {
            // After the rename it does nothing.
            removeTree(temporary, in: parent)
            throw error
        }
    }

    private func fill(
        _ directory: borrowing Descriptor,
        _ path: String,
        _ progress: (_ total: Int) -> Void
    ) throws(Failure) -> Report {
        var index = try repository.index.copy()
        let states = try make("states", in: directory, "\(path)/states")
        let known = index.entries
        let lost = known.filter { $0.value.generation > 0 }.keys
        var report = Report()
        index.entries = [:]
        var seen: Set<String> = []
        // Once more until there is none: a state that was renamed meanwhile is under its new name.
        while true {
            let names = try Set(repository.names()).union(lost).subtracting(seen).sorted()
            if names.isEmpty { break }
            seen.formUnion(names)
            for name in names {
                progress(seen.count)
                let found: Found?
                do throws(Failure) {
                    found = try find(name)
                } catch {
                    report.refused.append(error)
                    index.entries[name] = known[name]
                    continue
                }
                guard let found else { continue }
                try write(found, name, in: states, "\(path)/states/\(name)")
                index.entries[name] = found.entry
                report.copied += 1
            }
        }
        try repository.disk.synchronize(states, as: "\(path)/states")
        let place = "\(path)/index"
        let target = try make("index", in: directory, place)
        try index.write(in: target, path: place, keys: repository.keys, disk: repository.disk)
        try write(keyFiles(), in: directory, path)
        try repository.disk.synchronize(directory, as: path)
        return report
    }

    private func write(
        _ keyFiles: [KeyFile],
        in directory: borrowing Descriptor,
        _ path: String
    ) throws(Failure) {
        guard !keyFiles.isEmpty else { return }
        let keys = try make("keys", in: directory, "\(path)/keys")
        for key in keyFiles {
            let place = "\(path)/keys/\(key.name)"
            let file = try repository.disk.create(key.name, in: keys, as: place)
            try key.content.withBytes { (bytes) throws(Failure) in
                try repository.disk.write(bytes, to: file, as: place)
            }
            try repository.disk.synchronize(file, as: place)
        }
        try repository.disk.synchronize(keys, as: "\(path)/keys")
    }

    // MARK: - Reading

    /// A state and the record that it was compared with.
    private struct Found {
        let entry: IndexEntry
        let header: StateFile
        let payload: StatePayload
    }

    /// Returns a state; returns nil if it is none, or was removed meanwhile.
    ///
    /// What looks wrong is looked at once more while nobody creates, renames or removes a state, which takes several steps.
    private func find(_ name: String) throws(Failure) -> Found? {
        do throws(Failure) {
            return try look(name)
        } catch {
            return try repository.withCreationLock(until: Deadline(milliseconds: Self.timeout)) { () throws(Failure) in
                try look(name)
            }
        }
    }

    private func look(_ name: String) throws(Failure) -> Found? {
        // The record is read first: a container that stops meanwhile makes the file newer than it, not older.
        let entry = try repository.index.entry(name)
        let path = repository.filePath(name)
        guard let directory = try repository.openState(name) else {
            guard let entry, entry.generation > 0 else { return nil }
            throw repository.lost(name)
        }
        guard let entry else { throw repository.unknown(path) }
        // The container of such a state was never created.
        if entry.generation == 0, try directory.status(of: StateStore.fileName, path) == nil { return nil }
        let (header, payload) = try repository.loadInUse(name, entry.stateID, in: directory)
        try repository.check(header, against: entry, path: path)
        try repository.check(payload, against: entry, path: path)
        return Found(entry: entry, header: header, payload: payload)
    }

    // MARK: - Writing

    /// Writes a state of the same generation under the current key, in a file with a salt of its own.
    private func write(
        _ found: Found,
        _ name: String,
        in states: borrowing Descriptor,
        _ path: String
    ) throws(Failure) {
        let header = StateFile(
            keyID: repository.keys.current.id,
            uuid: found.header.uuid,
            generation: found.header.generation,
            stateID: found.header.stateID
        )
        let keys = try repository.keys.instanceKeys(of: header, header.stateID, path: path)
        let directory = try make(name, in: states, path)
        let file = "\(path)/\(StateStore.fileName)"
        try repository.write(header, found.payload, keys, in: directory, path: file)
    }

    private func make(_ name: String, in parent: borrowing Descriptor, _ path: String) throws(Failure) -> Descriptor {
        try repository.disk.makeDirectory(name, in: parent, as: path)
        return try open(name, in: parent, path)
    }

    private func open(_ name: String, in parent: borrowing Descriptor, _ path: String) throws(Failure) -> Descriptor {
        try .open(name, .beneath(O_RDONLY | O_DIRECTORY), at: parent.number, as: path)
    }

    /// Removes what a backup that failed has made, as far as that is possible.
    private func removeTree(_ name: String, in parent: borrowing Descriptor) {
        do throws(Failure) {
            let directory = try open(name, in: parent, name)
            for entry in try entries(of: directory, name) {
                do {
                    try remove(entry, at: directory, entry)
                } catch {
                    removeTree(entry, in: directory)
                }
            }
            try remove(name, at: parent, flags: AT_REMOVEDIR, name)
        } catch {
            // What is left has a name that no backup has.
        }
    }

    /// What the name of an incomplete backup begins with.
    public static let temporaryPrefix = ".vtpm-backup-"
}
