import Platform

/// The public area of an NV index, TPMS_NV_PUBLIC. TPM 2.0 Library, Part 2, 13.5
struct NVPublic: Equatable {
    let index: UInt32
    let nameAlgorithm: UInt16
    let attributes: NVAttributes
    let policy: [UInt8]
    let size: UInt16

    /// The size of a counter, in bytes.
    static let counterSize: UInt16 = 8
    /// The attributes of a counter: everybody with access to the TPM may read and increment it.
    ///
    /// Its value is not secret and can only grow. TPMA_NV_ORDERLY is clear: an orderly counter jumps ahead after a
    /// power failure.
    static let counterAttributes: NVAttributes = [.counter, .authRead, .authWrite, .noDA]

    /// Creates the public area of a counter with ``counterAttributes``.
    init(counter index: UInt32, policy: [UInt8], isWritten: Bool) {
        self.index = index
        self.nameAlgorithm = Algorithm.sha256
        self.attributes = isWritten ? Self.counterAttributes.union(.written) : Self.counterAttributes
        self.policy = policy
        self.size = Self.counterSize
    }

    /// Creates the public area of an index that the platform writes once, and everybody may read.
    ///
    /// TCG EK Credential Profile, 2.2.1.5.
    init(certificate index: UInt32, size: UInt16) {
        self.index = index
        self.nameAlgorithm = Algorithm.sha256
        self.attributes = Self.certificateAttributes
        self.policy = []
        self.size = size
    }

    /// The attributes of a certificate's index before it is written and locked: 0x42072001.
    static let certificateAttributes: NVAttributes = [
        .platformWrite, .writeDefine, .platformRead, .ownerRead, .authRead, .noDA, .platformCreate,
    ]

    /// Whether the platform has made the index, so that no tenant has: it never had the platform's authorization.
    var isPlatforms: Bool { attributes.contains(.platformCreate) }

    /// Parses a TPMS_NV_PUBLIC; returns nil if it is malformed.
    init?(decoding bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let index = reader.read(UInt32.self), let nameAlgorithm = reader.read(UInt16.self),
            let attributes = reader.read(UInt32.self), let policy = reader.readSized(),
            let size = reader.read(UInt16.self), reader.remaining == 0
        else { return nil }
        self.index = index
        self.nameAlgorithm = nameAlgorithm
        self.attributes = NVAttributes(rawValue: attributes)
        self.policy = policy
        self.size = size
    }

    /// Whether the index is a counter with ``counterAttributes``.
    var isCounter: Bool {
        attributes.subtracting(.written) == Self.counterAttributes && size == Self.counterSize
            && nameAlgorithm == Algorithm.sha256
    }

    var encoded: [UInt8] {
        var area = ByteWriter()
        area.write(index)
        area.write(nameAlgorithm)
        area.write(attributes.rawValue)
        area.write(sized: policy)
        area.write(size)
        return area.bytes
    }
}
