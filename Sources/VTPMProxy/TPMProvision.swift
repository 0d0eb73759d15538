import Platform

/// The banks of PCRs that a TPM has: the digests by which it extends them. TPM 2.0 Library, Part 1, 17.2
public struct PCRBanks: OptionSet, Sendable {
    /// One bit for each bank.
    public let rawValue: UInt8

    /// Creates a set from its bits, some of which may stand for no bank.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// SHA-1.
    public static let sha1 = PCRBanks(rawValue: 1 << 0)
    /// SHA-256.
    public static let sha256 = PCRBanks(rawValue: 1 << 1)
    /// SHA-384.
    public static let sha384 = PCRBanks(rawValue: 1 << 2)
    /// SHA-512.
    public static let sha512 = PCRBanks(rawValue: 1 << 3)

    /// All that libtpms implements, which it allocates by itself.
    public static let all = PCRBanks(rawValue: 0b1111)

    /// Each bank by the name that configurations and tpm2-tools have for it, with its TPM_ALG_ID.
    public static let named: [(name: String, bank: PCRBanks, algorithm: UInt16)] = [
        ("sha1", .sha1, 0x0004), ("sha256", .sha256, 0x000b), ("sha384", .sha384, 0x000c), ("sha512", .sha512, 0x000d),
    ]

    /// Whether each bit stands for a bank, and there is at least one.
    public var isValid: Bool { isSubset(of: .all) && !isEmpty }
}

/// What a TPM is made with.
public struct TPMProvision: Equatable, Sendable {
    /// The keys that it has at their handles.
    public var keys: StandardKeys
    /// The banks of PCRs that it has; they are chosen once, when it is manufactured.
    public var banks: PCRBanks

    /// What a TPM has by default.
    public static let standard = TPMProvision(keys: .standard)

    /// The size of the encoding, in bytes.
    public static let size = 3

    /// Creates a provision.
    public init(keys: StandardKeys, banks: PCRBanks = .all) {
        self.keys = keys
        self.banks = banks
    }

    /// Writes it: the keys in 16 bits, the banks in 8.
    public func encode(into writer: inout ByteWriter) {
        writer.write(keys.rawValue)
        writer.write(banks.rawValue)
    }

    /// Reads it; returns nil if it names keys or banks that this version does not know, or no bank.
    public init?(_ reader: inout ByteReader) {
        guard let keys = reader.read(UInt16.self), let banks = reader.read(UInt8.self) else { return nil }
        self.init(keys: StandardKeys(rawValue: keys), banks: PCRBanks(rawValue: banks))
        guard self.keys.isKnown, self.banks.isValid else { return nil }
    }
}

extension TPMCommand {
    /// Returns the TPM2_PCR_Allocate after whose next startup the TPM has these banks and no others. Part 3, 22.5
    ///
    /// It is authorized by the platform, whose authorization is empty.
    public static func allocate(_ banks: PCRBanks) -> [UInt8] {
        var parameters = ByteWriter()
        // TPML_PCR_SELECTION: each algorithm with all 24 PCRs or none. Part 2, 10.9.7
        parameters.write(UInt32(PCRBanks.named.count))
        for (_, bank, algorithm) in PCRBanks.named {
            parameters.write(algorithm)
            parameters.write([3] + [UInt8](repeating: banks.contains(bank) ? 0xff : 0, count: 3))
        }
        return command(0x12b, handles: [platform], parameters: parameters.bytes)
    }

    /// Returns whether a response to ``allocate(_:)`` says that the banks will be there.
    public static func hasAllocated(_ response: UnsafeRawBufferPointer) -> Bool {
        // After the header, the size of the parameters: the first of them.
        responseCode(of: response) == success && response.bigEndian(at: headerSize + 4, as: UInt8.self) == 1
    }
}
