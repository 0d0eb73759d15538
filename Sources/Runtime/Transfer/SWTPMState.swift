import Crypto
import Platform
import RuntimeFormat

/// The state of a TPM as swtpm keeps it, in the file `tpm2-00.permall` of its directory.
///
///     version    8 bits   2
///     minimum    8 bits   1: what a reader must know at least
///     header     16 bits  size of the header, 10
///     flags      16 bits  1 encrypted, 8 with a key of 256 bits; 2, 4 and 16 are for migrations
///     size       32 bits  of the file, in bytes
///
/// Items follow: 16 bits tag, 32 bits length, contents. Integers are big-endian. A plain file has one, tag 1, libtpms'
/// `permall`. An encrypted file has three: the ciphertext, tag 2; an HMAC, tag 3; an initialisation vector, tag 6.
/// ``SWTPMCipher`` and ``SWTPMKey`` tell how they are made. The HMAC covers ciphertext and vector, and not the header.
///
/// swtpm has written this since its first release, 0.1 (src/swtpm/swtpm_nvstore.c). It also reads what is older, which is
/// refused here. The same lies in a store of its `file://` backend, ``SWTPMStore``.
public enum SWTPMState {
    /// The largest file of a directory, in bytes.
    static let stateLimit = ExportedState.permanentLimit + 256
    /// The largest file that is read, in bytes: Proxmox VE makes stores of 4 MiB.
    public static let fileLimit = 4 << 20

    /// Writes a state for swtpm.
    ///
    /// - Parameters:
    ///   - permanent: libtpms' `permall`.
    ///   - key: What swtpm will be given as `--key`; nothing for a file that anybody can read, a secret itself. With a
    ///     passphrase it needs `mode=aes-256-cbc`.
    /// - Returns: The whole file.
    /// - Throws: ``Failure`` where the state is empty or too large, or the key is not one of swtpm's.
    public static func encode(_ permanent: SecretBytes, key: SWTPMKey?) throws(Failure) -> SecretBytes {
        let what = "cannot write a state for swtpm"
        guard (1...ExportedState.permanentLimit).contains(permanent.count) else {
            throw Failure(what, because: "it has \(permanent.count) bytes, not 1 to \(ExportedState.permanentLimit)")
        }
        guard let key else {
            let size = Item.headerSize + permanent.count
            let file = try SecretBytes(capacity: SWTPMFile.headerSize + size)
            let good =
                file.append(copying: SWTPMFile.header([], itemBytes: size))
                && file.append(copying: SWTPMFile.itemHeader(.data, count: permanent.count))
                && file.append(copying: permanent)
            precondition(good, "the capacity was computed from the contents")
            return file
        }
        let certain = try key.certain(what)
        let keySize = certain.sizeToWriteWith
        let cipher = SWTPMCipher(key: try certain.candidates(size: keySize, what)[0])
        let iv = try Random.bytes(count: keySize)
        let ciphertext = try cipher.encrypt(permanent, iv: iv)
        let mac = try cipher.mac(ciphertext, iv: iv)
        let items =
            SWTPMFile.itemHeader(.ciphertext, count: ciphertext.count) + ciphertext
            + SWTPMFile.itemHeader(.mac, count: mac.count) + mac
            + SWTPMFile.itemHeader(.iv, count: iv.count) + iv
        let flags: SWTPMFile.Flags = keySize == 16 ? .encrypted : [.encrypted, .longKey]
        let bytes = SWTPMFile.header(flags, itemBytes: items.count) + items
        let file = try SecretBytes(capacity: bytes.count)
        let isCopied = file.append(copying: bytes)
        precondition(isCopied, "the capacity is the size")
        return file
    }

    /// Reads a state that swtpm wrote.
    ///
    /// - Parameters:
    ///   - file: The whole file.
    ///   - key: What swtpm was given as `--key`; nothing for a plain file, and for no other.
    ///   - path: The file's path, for errors.
    /// - Returns: libtpms' `permall`, of which only the size was looked at.
    /// - Throws: ``Failure`` with words of its own for each way to be wrong; a wrong key cannot be told from damage.
    public static func decode(_ file: SecretBytes, key: SWTPMKey?, path: String) throws(Failure) -> SecretBytes {
        let what = "cannot read swtpm's state \(path)"
        let file = try contents(of: file, what)
        let parts = try file.withBytes { (bytes) throws(Failure) in try SWTPMFile(bytes, what) }
        let permanent: SecretBytes
        switch (parts.items[.data], key) {
        case (nil, nil):
            throw Failure(what, because: "it is encrypted", hint: "give the key or passphrase of swtpm's --key")
        case (.some, .some):
            throw Failure(what, because: "it is not encrypted, and a key was given", hint: "leave out the key")
        case (.some(let range), nil):
            permanent = try SecretBytes(capacity: max(range.count, 1))
            let isCopied = file.withBytes {
                permanent.append(copying: UnsafeRawBufferPointer(rebasing: $0[range]))
            }
            precondition(isCopied, "the capacity is the size")
        case (nil, .some(let key)):
            permanent = try decrypt(file, parts, key, what)
        }
        guard (1...ExportedState.permanentLimit).contains(permanent.count) else {
            throw Failure(what, because: "the state in it has \(permanent.count) bytes")
        }
        guard !permanent.withBytes({ $0.starts(with: tpm12Start) }) else {
            throw Failure(
                what,
                because: "it is of a TPM 1.2, which has other keys and commands than a TPM 2.0",
                hint: "give the tpm2-00.permall of a swtpm --tpm2, or let the container have a new TPM"
            )
        }
        return permanent
    }

    /// How libtpms' `permall` of a TPM 1.2 begins: TPM_TAG_NVSTATE_V1, then TPM_TAG_PERMANENT_DATA.
    ///
    /// That of a TPM 2.0 begins with the version of its format, since 2018 at least 2, and a magic number.
    private static let tpm12Start: [UInt8] = [0, 1, 0, 0x22]

    /// The state's own file, out of a store where it is one.
    private static func contents(of file: SecretBytes, _ what: String) throws(Failure) -> SecretBytes {
        guard file.count <= fileLimit else { throw Failure(what, because: "it is larger than any of swtpm's") }
        let range = try file.withBytes { (bytes) throws(Failure) in
            SWTPMStore.isStore(bytes) ? try SWTPMStore.permanentState(in: bytes, what) : 0..<bytes.count
        }
        guard range.count <= stateLimit else { throw Failure(what, because: "it is larger than any TPM's state") }
        guard range.count < file.count else { return file }
        let content = try SecretBytes(capacity: max(range.count, 1))
        let isCopied = file.withBytes { content.append(copying: UnsafeRawBufferPointer(rebasing: $0[range])) }
        precondition(isCopied, "the capacity is the size")
        return content
    }

    private static func decrypt(
        _ file: SecretBytes,
        _ parts: SWTPMFile,
        _ key: SWTPMKey,
        _ what: String
    ) throws(Failure) -> SecretBytes {
        func contents(_ tag: SWTPMFile.Tag) -> [UInt8] {
            parts.items[tag].map { range in file.withBytes { Array($0[range]) } } ?? []
        }
        let (ciphertext, mac, iv) = (contents(.ciphertext), contents(.mac), contents(.iv))
        guard iv.count == parts.keySize, mac.count == HMACSHA256.tagSize, ciphertext.count % parts.keySize == 0 else {
            throw Failure(what, because: "its contents are damaged, or too new")
        }
        for candidate in try key.candidates(size: parts.keySize, what) {
            let cipher = SWTPMCipher(key: candidate)
            guard try cipher.isGenuine(mac, ciphertext, iv: iv) else { continue }
            guard let permanent = try cipher.decrypt(ciphertext, iv: iv) else {
                throw Failure(what, because: "what was encrypted is no state of swtpm's")
            }
            return permanent
        }
        throw Failure(what, because: "the key or passphrase is wrong, or it is damaged")
    }
}
