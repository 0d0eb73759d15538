import Crypto
import Platform
import RuntimeFormat

/// The state of a TPM in the format of swtpm, the file `tpm2-00.permall` in its directory.
///
///     version    8 bits   2
///     minimum    8 bits   1: the lowest version that a reader must support
///     header     16 bits  size of the header, 10
///     flags      16 bits  1 encrypted, 8 with a key of 256 bits; 2, 4 and 16 are for migrations
///     size       32 bits  of the file, in bytes
///
/// Items follow: 16 bits tag, 32 bits length, contents. Integers are big-endian. A plain file has one item: `permall`
/// of libtpms, tag 1. An encrypted file has three: the ciphertext, tag 2; an HMAC, tag 3; an initialization vector, tag
/// 6. ``SWTPMCipher`` and ``SWTPMKey`` describe how they are made. The HMAC covers the ciphertext and the vector, but
/// not the header.
///
/// swtpm has written this format since its first release, 0.1 (src/swtpm/swtpm_nvstore.c). It also reads older formats,
/// which are refused here. A store of its `file://` backend contains the same file, ``SWTPMStore``.
public enum SWTPMState {
    /// The largest state file, outside or inside a store, in bytes.
    static let stateLimit = ExportedState.permanentLimit + 256
    /// The largest file that is read, in bytes: the stores of Proxmox VE have 4 MiB.
    public static let fileLimit = 4 << 20

    /// Encodes a state for swtpm.
    ///
    /// - Parameters:
    ///   - permanent: `permall` of libtpms.
    ///   - key: The `--key` of swtpm; nil for a plain file, which is then a secret itself. With a passphrase, swtpm
    ///     needs `mode=aes-256-cbc`.
    /// - Returns: The contents of the whole file.
    /// - Throws: ``Failure`` if the state is empty or too large, or if swtpm cannot use the key.
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

    /// Decodes a state that swtpm wrote.
    ///
    /// - Parameters:
    ///   - file: The contents of the whole file, or of a store.
    ///   - key: The `--key` of swtpm; nil exactly if the file is not encrypted.
    ///   - path: The file's path, for errors.
    /// - Returns: `permall` of libtpms. Only its size was checked, and that it does not belong to a TPM 1.2.
    /// - Throws: ``Failure`` that names the cause; a wrong key looks like damage.
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

    /// The start of `permall` of a TPM 1.2: TPM_TAG_NVSTATE_V1, then TPM_TAG_PERMANENT_DATA.
    ///
    /// `permall` of a TPM 2.0 starts with the version of its format, which is at least 2 since 2018, and a magic
    /// number.
    private static let tpm12Start: [UInt8] = [0, 1, 0, 0x22]

    /// Returns the state file, which is extracted if `file` is a store.
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
