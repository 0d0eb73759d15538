import Platform

/// What an NV index is: TPMS_NV_PUBLIC. TPM 2.0 Library, Part 2, 13.5
struct NVPublic: Equatable {
    let index: UInt32
    let nameAlgorithm: UInt16
    let attributes: NVAttributes
    let policy: [UInt8]
    let size: UInt16

    /// Bytes of a counter.
    static let counterSize: UInt16 = 8
    /// What a counter may be used for: anybody who reaches the TPM may read and increment it.
    ///
    /// It can only go forward, and is no secret. TPMA_NV_ORDERLY is clear, or it would jump when the power fails.
    static let counterAttributes: NVAttributes = [.counter, .authRead, .authWrite, .noDA]

    /// A counter of ours.
    init(counter index: UInt32, policy: [UInt8], isWritten: Bool) {
        self.index = index
        self.nameAlgorithm = Algorithm.sha256
        self.attributes = isWritten ? Self.counterAttributes.union(.written) : Self.counterAttributes
        self.policy = policy
        self.size = Self.counterSize
    }

    /// Parses what a TPM says.
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

    /// Whether it is a counter as we define it.
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
