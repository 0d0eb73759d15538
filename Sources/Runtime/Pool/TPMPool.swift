import CLinux
import Crypto
import Glibc
import Platform
import RuntimeControl
import RuntimeFormat
import RuntimeState
import VTPMProxy

/// The host's TPMs that were made ahead of need, a file each in a directory that is in memory.
///
/// Who removes a file's name has its TPM: nobody else can have it, however that process ends. So the directory must not
/// outlive the boot, as one on a disk would, on which a removed name can reappear after a power failure or in a copy.
public struct TPMPool {
    private let path: String
    /// The beginning of a file's name that is not complete; nobody claims it.
    private static let newPrefix = ".new-"

    /// Creates the description of a host's pool.
    public init(_ hostPaths: HostPaths) { path = hostPaths.pool }

    /// What a TPM has to be like to be claimed.
    public struct Demand {
        /// The host's master keys.
        public let ring: KeyRing
        /// This host.
        public let host: HostBinding
        /// The keys that a new TPM has at their handles.
        public let keys: StandardKeys

        /// Creates a demand.
        public init(_ ring: KeyRing, of host: HostBinding, keys: StandardKeys) {
            (self.ring, self.host, self.keys) = (ring, host, keys)
        }

        /// Returns why a TPM is of no use; nil if it is of use.
        func objection(to file: PoolFile) -> String? {
            if file.host != host.digest { return "another host made it" }
            if ring.key(file.keyID) == nil { return "it needs another master key" }
            return file.keys == keys ? nil : "it has other keys than the configuration names"
        }
    }

    // MARK: - Claims

    /// Takes a TPM out of the pool for good; returns nil if there is none.
    ///
    /// One that is of no use is thrown away, which the log tells. `demand` is called if there is any TPM.
    public func claim(_ demand: () throws(Failure) -> Demand) throws(Failure) -> PooledTPM? {
        guard let directory = try openIfThere() else { return nil }
        let names = try names(in: directory)
        guard !names.isEmpty else { return nil }
        let wanted = try demand()
        for name in names {
            do throws(Failure) {
                guard let bytes = try take(name, in: directory) else { continue }
                let what = what(name)
                let file = try PoolFile(parsing: bytes, what)
                if let objection = wanted.objection(to: file) { throw Failure(what, because: objection) }
                guard let master = wanted.ring.key(file.keyID) else { continue }
                return try file.open(master, what)
            } catch {
                Log.notice("\(error); it is thrown away")
            }
        }
        return nil
    }

    private func what(_ name: String) -> String { "cannot use the TPM \(path)/\(name)" }

    /// Removes a file's name and reads the file; returns nil if somebody else has removed it.
    private func take(_ name: String, in directory: borrowing Descriptor) throws(Failure) -> [UInt8]? {
        let place = "\(path)/\(name)"
        do throws(Failure) {
            let file = try Descriptor.openFile(name, .beneath(O_RDONLY), at: directory.number, as: place)
            let number = directory.number
            try systemCall("unlinkat", "cannot claim the TPM \(place)") { unlinkat(number, name, 0) }
            return try file.readAll(limit: FileFormat.pool.sizeLimit, place)
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    private func names(in directory: borrowing Descriptor) throws(Failure) -> [String] {
        try entries(of: directory, path).filter { !$0.hasPrefix(".") }
    }

    // MARK: - Filling

    /// The pool while one process fills it, which nobody else does meanwhile.
    public struct Filling: ~Copyable {
        private let pool: TPMPool
        private let lock: FileLock

        fileprivate init(_ pool: TPMPool) throws(Failure) {
            let directory = try openOwnDirectory(pool.path)
            try directory.requireOwn(files: [], pool.path)
            guard [Int(TMPFS_MAGIC), Int(RAMFS_MAGIC)].contains(try directory.fileSystemMagic(pool.path)) else {
                throw Failure(
                    "cannot fill the pool \(pool.path)",
                    because: "it is not in memory: a TPM that was claimed could come back after a power failure",
                    hint: "mount a tmpfs there"
                )
            }
            lock = try FileLock(
                of: directory,
                until: Deadline(milliseconds: 0),
                "the pool of TPMs",
                inUse: { (_) throws(Failure) in
                    Failure("cannot fill the pool \(pool.path)", because: "another process does", code: EWOULDBLOCK)
                }
            )
            self.pool = pool
        }

        /// Removes what is of no use, and what is more than `size`; returns the number of the TPMs that stay.
        ///
        /// With a `library`, the TPMs of another version of libtpms are of no use either.
        public func tidy(_ demand: Demand, to size: Int, library: LibraryVersion?) throws(Failure) -> Int {
            var count = 0
            for name in try entries(of: lock.file, pool.path) {
                if count < size, try isOfUse(name, demand, library) {
                    count += 1
                } else {
                    _ = try pool.remove(name, in: lock.file)
                }
            }
            return count
        }

        private func isOfUse(
            _ name: String,
            _ demand: Demand,
            _ library: LibraryVersion?
        ) throws(Failure) -> Bool {
            guard !name.hasPrefix(TPMPool.newPrefix) else { return false }
            let place = "\(pool.path)/\(name)"
            do throws(Failure) {
                let file = try Descriptor.openFile(name, .beneath(O_RDONLY), at: lock.file.number, as: place)
                let bytes = try file.readAll(limit: FileFormat.pool.sizeLimit, place)
                guard let header = try? PoolFile(parsing: bytes, pool.what(name)) else { return false }
                return demand.objection(to: header) == nil && library.map { $0 == header.library } ?? true
            } catch let error where error.code == ENOENT {
                return false
            }
        }

        /// Adds a TPM, which can be claimed from then on.
        public func add(_ tpm: PooledTPM, _ demand: Demand) throws(Failure) {
            let content = try PoolFile.encode(tpm, for: demand.host, demand.ring.current)
            let name = Hexadecimal.encode(try Random.bytes(count: 16))
            let (new, place) = ("\(TPMPool.newPrefix)\(name)", "\(pool.path)/\(name)")
            let number = lock.file.number
            do throws(Failure) {
                let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
                let file = try Descriptor.openFile(new, options, at: number, as: place)
                try file.writeAll(content, place)
                try systemCall("renameat", "cannot add the TPM \(place)") { renameat(number, new, number, name) }
            } catch {
                _ = unlinkat(number, new, 0)
                throw error
            }
        }
    }

    /// Begins to fill the pool, whose directory is made if need be.
    ///
    /// Throws a ``Failure`` with EWOULDBLOCK if another process fills it, and one if the directory is not in memory.
    public func fill() throws(Failure) -> Filling { try Filling(self) }

    // MARK: - Administration

    /// Returns how many TPMs there are, of use or not.
    public func count() throws(Failure) -> Int {
        guard let directory = try openIfThere() else { return 0 }
        return try names(in: directory).count
    }

    /// Returns how many TPMs can be claimed on this host; `demand` is called if there is any.
    public func count(_ demand: () throws(Failure) -> Demand) throws(Failure) -> Int {
        guard let directory = try openIfThere(), case let names = try names(in: directory), !names.isEmpty else {
            return 0
        }
        let demand = try demand()
        var count = 0
        for name in names {
            let place = "\(path)/\(name)"
            do throws(Failure) {
                let file = try Descriptor.openFile(name, .beneath(O_RDONLY), at: directory.number, as: place)
                let bytes = try file.readAll(limit: FileFormat.pool.sizeLimit, place)
                if demand.objection(to: try PoolFile(parsing: bytes, what(name))) == nil { count += 1 }
            } catch let error where error.code == ENOENT {}
        }
        return count
    }

    /// Throws all TPMs away; returns their number.
    @discardableResult
    public func clear() throws(Failure) -> Int {
        guard let directory = try openIfThere() else { return 0 }
        var count = 0
        for name in try entries(of: directory, path) where try remove(name, in: directory) { count += 1 }
        return count
    }

    private func openIfThere() throws(Failure) -> Descriptor? {
        do throws(Failure) {
            let directory = try Descriptor.open(path, .directory)
            try directory.requireOwn(files: [], path)
            return directory
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// Returns false if somebody else has removed it.
    fileprivate func remove(_ name: String, in directory: borrowing Descriptor) throws(Failure) -> Bool {
        let number = directory.number
        do throws(Failure) {
            try systemCall("unlinkat", "cannot remove \(path)/\(name)") { unlinkat(number, name, 0) }
            return true
        } catch let error where error.code == ENOENT {
            return false
        }
    }
}
