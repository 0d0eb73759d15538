import Platform

/// The parts of a state file of swtpm's, found but not decrypted.
///
/// ``SWTPMState`` has the layout.
struct SWTPMFile {
    static let version: UInt8 = 2
    static let minimumVersion: UInt8 = 1
    static let headerSize = 10
    static let itemHeaderSize = 6

    /// The flags in the header.
    struct Flags: OptionSet {
        let rawValue: Int
        static let encrypted = Flags(rawValue: 0x01)
        static let migrationEncrypted = Flags(rawValue: 0x02)
        static let migration = Flags(rawValue: 0x04)
        static let longKey = Flags(rawValue: 0x08)
        static let longMigrationKey = Flags(rawValue: 0x10)
        static let anyMigration: Flags = [.migrationEncrypted, .migration, .longMigrationKey]
        static let known: Flags = [.encrypted, .longKey, .anyMigration]
    }

    /// What an item is.
    enum Tag: Int {
        case data = 1
        case ciphertext = 2
        case mac = 3
        case iv = 6
    }

    let flags: Flags
    /// Where the contents of each item lie.
    let items: [Tag: Range<Int>]

    /// Bytes of the key that an encrypted file takes.
    var keySize: Int { flags.contains(.longKey) ? SWTPMCipher.longKeySize : 16 }

    /// Finds the parts; `what` is for errors.
    init(_ file: UnsafeRawBufferPointer, _ what: String) throws(Failure) {
        func refuse(_ why: String, remedy: String? = nil) -> Failure { Failure(what, because: why, remedy: remedy) }
        guard !file.starts(with: ExportHeader.magic) else {
            throw refuse("it is an export of this program's", remedy: "leave out --swtpm")
        }
        guard file.count >= Self.headerSize else { throw refuse("it is truncated, or no state of swtpm's") }
        let (version, minimum) = (file[0], file[1])
        guard file.bigEndian(at: 2, count: 2) == Self.headerSize, minimum > 0, version >= minimum else {
            throw refuse("it is no state of swtpm's")
        }
        guard version == Self.version else {
            throw refuse("it has swtpm's format \(version), and only \(Self.version) is known")
        }
        let size = file.bigEndian(at: 6, count: 4)
        guard size >= file.count else { throw refuse("its header is damaged, or something follows its end") }
        guard size == file.count else { throw refuse("it is truncated") }
        let flags = Flags(rawValue: file.bigEndian(at: 4, count: 2))
        guard flags.subtracting(.known).isEmpty else { throw refuse("its header is damaged, or too new") }
        guard flags.isDisjoint(with: .anyMigration) else {
            throw refuse(
                "it is a blob for a migration, as swtpm_ioctl --save writes it",
                remedy: "stop swtpm and give the tpm2-00.permall in its directory"
            )
        }
        guard flags.contains(.encrypted) || !flags.contains(.longKey) else { throw refuse("its header is damaged") }
        let expected: Set<Tag> = flags.contains(.encrypted) ? [.ciphertext, .mac, .iv] : [.data]
        guard let items = Self.items(of: file), Set(items.keys) == expected else {
            throw refuse("its contents are damaged, or too new")
        }
        self.flags = flags
        self.items = items
    }

    /// The items after the header; nothing where one goes past the end, is unknown or comes twice.
    private static func items(of file: UnsafeRawBufferPointer) -> [Tag: Range<Int>]? {
        var items: [Tag: Range<Int>] = [:]
        var offset = headerSize
        while offset < file.count {
            guard file.count - offset >= itemHeaderSize else { return nil }
            let start = offset + itemHeaderSize
            let length = file.bigEndian(at: offset + 2, count: 4)
            guard length <= file.count - start, let tag = Tag(rawValue: file.bigEndian(at: offset, count: 2)),
                items.updateValue(start..<start + length, forKey: tag) == nil
            else { return nil }
            offset = start + length
        }
        return items
    }

    /// The header of a file with items of so many bytes.
    static func header(_ flags: Flags, itemBytes: Int) -> [UInt8] {
        var header = ByteWriter()
        header.write(version)
        header.write(minimumVersion)
        header.write(UInt16(headerSize))
        header.write(UInt16(flags.rawValue))
        header.write(UInt32(headerSize + itemBytes))
        return header.bytes
    }

    /// What stands before an item's contents.
    static func itemHeader(_ tag: Tag, count: Int) -> [UInt8] {
        var header = ByteWriter()
        header.write(UInt16(tag.rawValue))
        header.write(UInt32(count))
        return header.bytes
    }
}
