import CLinux
import Crypto
import Glibc
import Platform
import RuntimeControl
import RuntimeState

/// The pool while one process fills it, which nobody else does meanwhile.
public struct PoolFilling: ~Copyable {
    private let pool: TPMPool
    private let lock: FileLock

    /// The beginning of the name of a file that is being written; nobody claims it.
    private static let newPrefix = ".new-"

    /// Begins to fill the pool, whose directory is made if need be.
    ///
    /// Throws a ``Failure`` with EWOULDBLOCK if another process fills it until the deadline, and one if the directory is not in
    /// memory.
    public init(_ pool: TPMPool, until deadline: Deadline = Deadline(milliseconds: 0)) throws(Failure) {
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
            until: deadline,
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
    public func tidy(_ demand: TPMPool.Demand, to size: Int, library: LibraryVersion? = nil) throws(Failure) -> Int {
        // What a killed process has left.
        for name in try entries(of: lock.file, pool.path) where name.hasPrefix(Self.newPrefix) {
            _ = try pool.remove(name, in: lock.file)
        }
        var count = 0
        for name in try pool.names(in: lock.file) {
            if count < size, try pool.isOfUse(name, in: lock.file, demand, library) {
                count += 1
            } else {
                _ = try pool.remove(name, in: lock.file)
            }
        }
        return count
    }

    /// Returns how many TPMs there are, of use or not.
    public func count() throws(Failure) -> Int { try pool.names(in: lock.file).count }

    /// Adds a TPM, encrypted by a master key, which can be claimed from then on.
    public func add(_ tpm: PooledTPM, for host: HostBinding, _ master: MasterKey) throws(Failure) {
        let content = try PoolFile.encode(tpm, for: host, master)
        let name = Hexadecimal.encode(try Random.bytes(count: TPMPool.nameLength / 2))
        let (new, place) = ("\(Self.newPrefix)\(name)", "\(pool.path)/\(name)")
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

    /// Throws all TPMs away; returns their number.
    public func clear() throws(Failure) -> Int { try pool.clear() }
}
