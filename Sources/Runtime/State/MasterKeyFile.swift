import CLinux
import Glibc
import Platform

/// The `file` source of the master key: a file of root's, made at first use and never overwritten.
///
/// Format: 8 bytes `CVTPMKEY`, 16 bits version (1), the key's id, the key. The id shows a damaged file as such.
public enum MasterKeyFile {
    static let magic = Array("CVTPMKEY".utf8)
    static let version: UInt16 = 1
    private static let size = magic.count + 2 + MasterKey.idSize + Cryptography.keySize

    /// Loads the key, or makes it where it has never existed.
    ///
    /// A key that is missing although states or an index exist (`isFirstUse` is false) is not made anew: it could open none
    /// of them.
    public static func load(
        _ name: String,
        in directory: borrowing Descriptor,
        path: String,
        isFirstUse: Bool
    ) throws(Failure) -> MasterKey {
        do {
            let key = try read(name, in: directory, path: path)
            // Whoever has made it may not have synced it yet, and a state will need it.
            if isFirstUse { try directory.synchronize(path) }
            return key
        } catch let error where error.code == ENOENT {
            guard isFirstUse else {
                throw Failure(
                    "cannot load the master key \(path)",
                    because: "it is missing, and the states on this host need it",
                    remedy: "restore the file from a backup"
                )
            }
        }
        try create(name, in: directory, path: path)
        return try read(name, in: directory, path: path)
    }

    private static func read(
        _ name: String,
        in directory: borrowing Descriptor,
        path: String
    ) throws(Failure) -> MasterKey {
        let what = "cannot load the master key \(path)"
        let file = try Descriptor.open(name, .beneath(O_RDONLY), at: directory.number, as: path)
        let status = try file.status(path)
        guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            throw Failure(what, because: "others may read or change it", remedy: "chmod 0600 \(path)")
        }
        let content = try SecretBytes(capacity: size + 1)
        let number = file.number
        while try systemCall("read", what, { content.append { Glibc.read(number, $0.baseAddress, $0.count) } }) > 0 {}
        let idEnd = magic.count + 2 + MasterKey.idSize
        let start = magic + [UInt8(version >> 8), UInt8(version & 0xff)]
        guard content.count == size, content.withBytes({ $0.starts(with: start) }) else {
            throw Failure(what, because: "it is not a master key of this version")
        }
        let key = try SecretBytes(capacity: Cryptography.keySize)
        _ = content.withBytes { key.append(copying: UnsafeRawBufferPointer(rebasing: $0[idEnd...])) }
        let master = try MasterKey(key)
        guard content.withBytes({ $0[idEnd - MasterKey.idSize..<idEnd].elementsEqual(master.id) }) else {
            throw Failure(what, because: "it is damaged", remedy: "restore the file from a backup")
        }
        return master
    }

    /// Makes the file under another name and links it, so that it is never seen half-written and never replaces another:
    /// link(2) fails where the name is taken.
    private static func create(_ name: String, in directory: borrowing Descriptor, path: String) throws(Failure) {
        let what = "cannot create the master key \(path)"
        let temporary = "\(name).\(StateName.hexadecimal(try Cryptography.random(count: 8)))"
        let file = try Descriptor.open(
            temporary,
            .beneath(O_WRONLY | O_CREAT | O_EXCL, mode: 0o600),
            at: directory.number,
            as: path
        )
        let parent = directory.number
        defer { unlinkat(parent, temporary, 0) }
        let key = try SecretBytes(capacity: Cryptography.keySize)
        try key.fill { (buffer) throws(Failure) in try Cryptography.fillRandom(buffer) }
        var header = ByteWriter()
        header.write(magic)
        header.write(version)
        header.write(try MasterKey.id(of: key))
        try file.writeAll(header.bytes, path)
        try key.withBytes { (bytes) throws(Failure) in try file.writeAll(bytes, path) }
        try file.synchronize(path)
        do {
            try systemCall("linkat", what) { linkat(parent, temporary, parent, name, 0) }
        } catch let error where error.code == EEXIST {
            // Another hook was faster: its key is the host's.
        }
        try directory.synchronize(path)
    }
}
