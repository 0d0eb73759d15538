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
/// Whoever removes a file's name has its TPM: nobody else can have it, however that process ends. So the directory must not
/// outlive the boot, as one on a disk would, on which a removed name can reappear after a power failure or in a copy.
public struct TPMPool {
    let path: String

    /// Creates the description of a host's pool.
    public init(_ hostPaths: HostPaths) { path = hostPaths.pool }

    /// What a TPM has to be like to be claimed.
    public struct Demand {
        /// This host.
        public let host: HostBinding
        /// The keys that a new TPM has at their handles, and its banks of PCRs.
        public let provision: TPMProvision
        /// The host's master keys; nil if it does not matter by which one the TPM is encrypted.
        public let ring: KeyRing?

        /// Creates a demand.
        public init(of host: HostBinding, _ provision: TPMProvision, ring: KeyRing? = nil) {
            (self.ring, self.host, self.provision) = (ring, host, provision)
        }

        /// Returns why a TPM is of no use; nil if it is of use.
        func objection(to file: PoolFile) -> Objection? {
            if file.host != host.digest { return .anotherHost }
            if let ring, ring.key(file.keyID) == nil { return .anotherMasterKey }
            return file.provision == provision ? nil : .anotherProvision
        }
    }

    /// Why a TPM is of no use.
    enum Objection: String {
        case anotherHost = "another host made it"
        case anotherMasterKey = "it needs another master key"
        case anotherProvision = "it has other keys or banks of PCRs than the configuration names"
    }

    /// Takes a TPM out of the pool for good; returns nil if there is none to be had.
    ///
    /// One that nobody here can use is thrown away, which the log tells: another host has made it, it needs another master key, or
    /// it is damaged. One with other keys stays, for another configuration or until the pool is filled. `demand` is called if
    /// there is any TPM; it has master keys.
    public func claim(_ demand: () throws(Failure) -> Demand) throws(Failure) -> PooledTPM? {
        guard let directory = try openIfThere() else { return nil }
        let names = try names(in: directory)
        guard !names.isEmpty else { return nil }
        let wanted = try demand()
        for name in names {
            guard let bytes = try read(name, in: directory) else { continue }
            do throws(Failure) {
                let file = try PoolFile(parsing: bytes, what(name))
                let objection = wanted.objection(to: file)
                if let objection, objection != .anotherProvision {
                    throw Failure(what(name), because: objection.rawValue)
                }
                guard objection == nil, let master = wanted.ring?.key(file.keyID) else { continue }
                let tpm = try file.open(master, what(name))
                if try remove(name, in: directory) { return tpm }
            } catch let error where error.code == nil {
                // No call has failed: the file is to blame.
                if try remove(name, in: directory) { Log.notice("\(error); it is thrown away") }
            }
        }
        return nil
    }

    /// Returns how many TPMs can be claimed on this host; `demand` is called if there is any.
    public func count(_ demand: () throws(Failure) -> Demand) throws(Failure) -> Int {
        guard let directory = try openIfThere(), case let names = try names(in: directory), !names.isEmpty else {
            return 0
        }
        let demand = try demand()
        var count = 0
        for name in names where try isOfUse(name, in: directory, demand, nil) { count += 1 }
        return count
    }

    /// Throws away the TPMs that can be claimed, also while the pool is filled; returns their number.
    @discardableResult
    public func clear() throws(Failure) -> Int {
        guard let directory = try openIfThere() else { return 0 }
        var count = 0
        for name in try names(in: directory) where try remove(name, in: directory) { count += 1 }
        return count
    }

    // MARK: -

    func what(_ name: String) -> String { "cannot use the TPM \(path)/\(name)" }

    private func openIfThere() throws(Failure) -> Descriptor? {
        do throws(Failure) {
            let directory = try Descriptor.open(path, .directory)
            try directory.requireOwn(files: [], path)
            return directory
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// The number of digits in a file's name.
    static let nameLength = 32

    /// Returns the names of the files that are complete; anything else in the directory is not ours.
    func names(in directory: borrowing Descriptor) throws(Failure) -> [String] {
        try entries(of: directory, path).filter { name in
            name.utf8.count == Self.nameLength && name.utf8.allSatisfy { Hexadecimal.value($0) != nil }
        }
    }

    /// Returns whether there is a TPM in a file, and of use; with a library, whether that version of libtpms made it.
    func isOfUse(
        _ name: String,
        in directory: borrowing Descriptor,
        _ demand: Demand,
        _ library: LibraryVersion?
    ) throws(Failure) -> Bool {
        guard let bytes = try read(name, in: directory), let file = try? PoolFile(parsing: bytes, what(name)) else {
            return false
        }
        return demand.objection(to: file) == nil && library.map { $0 == file.library } ?? true
    }

    /// Reads a file; returns nil if it is not there any more, or is no file.
    private func read(_ name: String, in directory: borrowing Descriptor) throws(Failure) -> [UInt8]? {
        let place = "\(path)/\(name)"
        guard let status = try directory.status(of: name, place), status.st_mode & S_IFMT == S_IFREG else { return nil }
        do throws(Failure) {
            let file = try Descriptor.openFile(name, .beneath(O_RDONLY), at: directory.number, as: place)
            return try file.readAll(limit: FileFormat.pool.sizeLimit, place)
        } catch let error where error.code == ENOENT || error.code == nil {
            return nil
        }
    }

    /// Removes a file; returns false if somebody else has done so, or if it is no file.
    func remove(_ name: String, in directory: borrowing Descriptor) throws(Failure) -> Bool {
        let number = directory.number
        do throws(Failure) {
            try systemCall("unlinkat", "cannot remove \(path)/\(name)") { unlinkat(number, name, 0) }
            return true
        } catch let error where error.code == ENOENT || error.code == EISDIR {
            return false
        }
    }
}
