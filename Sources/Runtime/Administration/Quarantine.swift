import CLinux
import Crypto
import Glibc
import Platform
import RuntimeState

/// The states that were put aside: `quarantine/<time>/<name of the state's directory>/`.
public struct Quarantine {
    /// The directory's path.
    public let path: String

    /// Creates the quarantine in the directory of this path, which is created when it is needed.
    public init(_ path: String) {
        self.path = path
    }

    /// A state that was put aside.
    public struct Entry: Encodable, Sendable {
        /// The path of the state's directory.
        public var path: String
        /// When it was put aside: UTC as `YYYYMMDDThhmmssZ`, a hyphen and six random hexadecimal digits.
        public var time: String
        /// The ID of the state; nil if its file cannot be read.
        public var stateID: String?
        /// The state's generation; nil if its file cannot be read.
        public var generation: UInt64?
        /// The ID of the master key that it needs, in hexadecimal; nil if its file cannot be read.
        public var keyID: String?
    }

    /// Returns all states in the quarantine, the oldest first.
    ///
    /// A directory that cannot be opened is skipped, and `problem` is called with the error.
    public func list(_ problem: (Failure) -> Void = { _ in }) throws(Failure) -> [Entry] {
        var found: [Entry] = []
        try each(problem) { (time, name, directory) throws(Failure) in
            var entry = Entry(path: "\(path)/\(time)/\(name)", time: time)
            if let file = try? read(in: directory),
                let header = try? StateFile(parsing: file, path: entry.path)
            {
                entry.stateID = header.stateID
                entry.generation = header.generation
                entry.keyID = Hexadecimal.encode(header.keyID)
            }
            found.append(entry)
        }
        return found
    }

    /// Copies a state's file into the quarantine; returns the path of its new directory.
    ///
    /// It does not use rename(2), which changes two directories. If the process is killed before both are synced, the
    /// next one sees the result, and a power failure can then lose the state in both.
    func copy(_ name: String, from repository: StateRepository) throws(Failure) -> String {
        let disk = repository.disk
        let time = try Self.now()
        let root = try openOwnDirectory(path)
        let place = "\(path)/\(time)/\(name)"
        try disk.makeDirectory(time, in: root, as: "\(path)/\(time)")
        try disk.synchronize(root, as: path)
        let aside = try Descriptor.open(time, .beneath(O_RDONLY | O_DIRECTORY), at: root.number)
        try disk.makeDirectory(name, in: aside, as: place)
        try disk.synchronize(aside, as: place)
        let target = try Descriptor.open(name, .beneath(O_RDONLY | O_DIRECTORY), at: aside.number, as: place)
        if let directory = try repository.open(name), faccessat(directory.number, StateStore.fileName, F_OK, 0) == 0 {
            let file = try repository.read(in: directory, name)
            try disk.replace(StateStore.fileName, in: target, with: file, as: "\(place)/\(StateStore.fileName)")
        }
        return place
    }

    /// Writes all states under the current key; returns the paths of those that are damaged or cannot be decrypted.
    ///
    /// A state that cannot be read or written is skipped, since it may need the old key; `problem` is called with the
    /// error.
    func reencrypt(_ keys: KeyRing, _ disk: any Disk, _ problem: (Failure) -> Void) throws(Failure) -> [String] {
        var lost: [String] = []
        try each(problem) { (time, name, directory) throws(Failure) in
            let path = "\(path)/\(time)/\(name)/\(StateStore.fileName)"
            do throws(Failure) {
                // A lost state has left only a directory.
                guard faccessat(directory.number, StateStore.fileName, F_OK, 0) == 0 else { return }
                let file = try read(in: directory)
                let header = try StateFile(parsing: file, path: path)
                guard header.keyID != keys.current.id else { return try disk.synchronize(directory, as: path) }
                let old = try keys.instanceKeys(of: header, header.stateID, path: path)
                let payload = try header.decode(file, keys: old, path: path)
                let new = try header.next(keyID: keys.current.id)
                let own = try keys.current.instanceKeys(uuid: new.uuid, stateID: new.stateID)
                let content = try new.encode(payload, keys: own).content
                try disk.replace(StateStore.fileName, in: directory, with: content, as: path)
            } catch let error where error.code == nil {
                lost.append(path)
            } catch {
                problem(error)
            }
        }
        return lost
    }

    private func each(
        _ problem: (Failure) -> Void,
        _ body: (_ time: String, _ name: String, borrowing Descriptor) throws(Failure) -> Void
    ) throws(Failure) {
        let root: Descriptor
        do {
            root = try .open(path, .directory)
        } catch let error where error.code == ENOENT {
            return
        }
        for time in try entries(of: root, path).sorted() {
            let place = "\(path)/\(time)"
            guard let aside = openDirectory(time, in: root, place, problem) else { continue }
            for name in try entries(of: aside, place).sorted() {
                guard let state = openDirectory(name, in: aside, "\(place)/\(name)", problem) else { continue }
                try body(time, name, state)
            }
        }
    }

    /// Opens a directory; returns nil for anything else, and calls `problem` if that may be one of our states.
    private func openDirectory(
        _ name: String,
        in parent: borrowing Descriptor,
        _ path: String,
        _ problem: (Failure) -> Void
    ) -> Descriptor? {
        do throws(Failure) {
            return try .open(name, .beneath(O_RDONLY | O_DIRECTORY), at: parent.number, as: path)
        } catch {
            // The target may be a state of ours that was moved, which needs its key as before.
            if let status = try? parent.status(of: name, path), status.st_mode & S_IFMT == S_IFLNK {
                problem(Failure("cannot open \(path)", because: "it is a symbolic link", code: ELOOP))
                return nil
            }
            if error.code != ENOTDIR, error.code != ELOOP { problem(error) }
            return nil
        }
    }

    private func read(in directory: borrowing Descriptor) throws(Failure) -> [UInt8] {
        try Descriptor.openFile(StateStore.fileName, .beneath(O_RDONLY), at: directory.number, as: "a state in \(path)")
            .readAll(limit: StateFile.sizeLimit, path)
    }

    private static func now() throws(Failure) -> String {
        let stamp = Timestamp.utc(UInt64(clamping: time(nil)), "%Y%m%dT%H%M%SZ")
        return "\(stamp)-\(Hexadecimal.encode(try Random.bytes(count: 3)))"
    }
}
