import Platform
import RuntimeFormat

/// The parts of a state file of swtpm, located but not decrypted.
///
/// ``SWTPMState`` describes the layout. The header is not one of ``FileFormat``: it has neither a magic number nor a
/// check. The items have the same form as ours.
struct SWTPMFile {
    static let version: UInt8 = 2
    static let minimumVersion: UInt8 = 1
    static let headerSize = 10

    /// The flags in the header.
    struct Flags: OptionSet {
        let rawValue: UInt16
        static let encrypted = Flags(rawValue: 0x01)
        static let migrationEncrypted = Flags(rawValue: 0x02)
        static let migration = Flags(rawValue: 0x04)
        static let longKey = Flags(rawValue: 0x08)
        static let longMigrationKey = Flags(rawValue: 0x10)
        static let anyMigration: Flags = [.migrationEncrypted, .migration, .longMigrationKey]
        static let known: Flags = [.encrypted, .longKey, .anyMigration]
    }

    /// The tag of an item.
    enum Tag: UInt16 {
        case data = 1
        case ciphertext = 2
        case mac = 3
        case iv = 6
    }

    let flags: Flags
    /// The range of each item's contents in the file.
    let items: [Tag: Range<Int>]

    /// The size of the key of an encrypted file, in bytes.
    var keySize: Int { flags.contains(.longKey) ? SWTPMCipher.longKeySize : 16 }

    /// Locates the parts of a file; `what` starts the errors.
    init(_ file: UnsafeRawBufferPointer, _ what: String) throws(Failure) {
        func refuse(_ why: String, hint: String? = nil) -> Failure { Failure(what, because: why, hint: hint) }
        guard !file.starts(with: FileFormat.export.magic) else {
            throw refuse("it is an export of this program's", hint: "leave out --swtpm")
        }
        var reader = ByteReader(Array(file.prefix(Self.headerSize)))
        guard let version = reader.read(UInt8.self), let minimum = reader.read(UInt8.self),
            let headerSize = reader.read(UInt16.self), let flagBits = reader.read(UInt16.self),
            let size = reader.read(UInt32.self)
        else { throw refuse("it is truncated, or no state of swtpm's") }
        guard Int(headerSize) == Self.headerSize, minimum > 0, version >= minimum else {
            throw refuse("it is no state of swtpm's")
        }
        guard version == Self.version else {
            throw refuse("it has swtpm's format \(version), and only \(Self.version) is known")
        }
        guard Int(size) >= file.count else { throw refuse("its header is damaged, or something follows its end") }
        guard Int(size) == file.count else { throw refuse("it is truncated") }
        let flags = Flags(rawValue: flagBits)
        guard flags.subtracting(.known).isEmpty else { throw refuse("its header is damaged, or too new") }
        guard flags.isDisjoint(with: .anyMigration) else {
            throw refuse(
                "it is a blob for a migration, as swtpm_ioctl --save writes it",
                hint: "stop swtpm and give the tpm2-00.permall in its directory"
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

    /// Locates the items after the header; returns nil if one goes past the end, is unknown or comes twice.
    private static func items(of file: UnsafeRawBufferPointer) -> [Tag: Range<Int>]? {
        var items: [Tag: Range<Int>] = [:]
        var reader = ItemReader(file, from: headerSize)
        while let (kind, contents) = reader.next() {
            guard let tag = Tag(rawValue: kind), items.updateValue(contents, forKey: tag) == nil else { return nil }
        }
        return reader.isAtEnd ? items : nil
    }

    /// Encodes the header of a file whose items have `itemBytes` bytes in all.
    static func header(_ flags: Flags, itemBytes: Int) -> [UInt8] {
        var header = ByteWriter()
        header.write(version)
        header.write(minimumVersion)
        header.write(UInt16(headerSize))
        header.write(flags.rawValue)
        header.write(UInt32(headerSize + itemBytes))
        return header.bytes
    }

    /// Encodes an item's tag and length.
    static func itemHeader(_ tag: Tag, count: Int) -> [UInt8] { Item.header(tag.rawValue, count: count) }
}
