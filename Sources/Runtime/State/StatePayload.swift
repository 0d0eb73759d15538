import Crypto
import Platform
import RuntimeFormat

/// The plaintext of a state file's payload.
public struct StatePayload {
    private static let permanentState: UInt16 = 1
    private static let manufactureComplete: UInt16 = 2
    private static let endorsement: UInt16 = 0x8001
    /// The first kind that a reader ignores if it does not know it, and keeps when it writes the state.
    private static let firstOptional: UInt16 = 0x8000

    /// The TPM's whole non-volatile state, libtpms' `permall`; empty before manufacture.
    public let permanent: SecretBytes
    /// Whether manufacture was completed; an interrupted one is repeated, and is no lost state.
    public let isComplete: Bool
    /// The host's record of the TPM's identity; empty if there is none.
    ///
    /// It is public. What it holds is for who has written it.
    public let endorsement: [UInt8]
    /// The optional items that this version does not know, with their headers; nil if there are none.
    let unknown: SecretBytes?

    /// Creates the payload of a state to be written.
    public init(permanent: SecretBytes, isComplete: Bool, endorsement: [UInt8] = []) {
        self.init(permanent: permanent, isComplete: isComplete, endorsement: endorsement, unknown: nil)
    }

    init(permanent: SecretBytes, isComplete: Bool, endorsement: [UInt8], unknown: SecretBytes?) {
        self.permanent = permanent
        self.isComplete = isComplete
        self.endorsement = endorsement
        self.unknown = unknown
    }

    /// The result of decoding a list of items.
    enum Decoded {
        /// One state.
        case payload(StatePayload)
        /// The list has an item that only a later version knows, and that must not be ignored.
        case unknownItem
        /// It is no list of items, or not one of exactly one state.
        case malformed
    }

    /// Decodes a list of items: exactly one state, and at most one mark that it is complete.
    ///
    /// Any other list was written because of a bug of ours. It must not be treated as a TPM that was never
    /// manufactured, since a new TPM would take its place. In a file of the first version every unknown kind is
    /// critical.
    static func decode(_ plaintext: SecretBytes, hasOptionalItems: Bool = true) throws(Failure) -> Decoded {
        var ranges: [UInt16: Range<Int>] = [:]
        var unknown: [Range<Int>] = []
        let fault: Decoded? = plaintext.withBytes { bytes in
            var items = ItemReader(bytes)
            while let (kind, range) = items.next() {
                guard ranges.updateValue(range, forKey: kind) == nil else { return .malformed }
                switch kind {
                case Self.permanentState: break
                case Self.manufactureComplete: guard range.isEmpty else { return .malformed }
                case Self.endorsement where hasOptionalItems: break
                case Self.firstOptional... where hasOptionalItems:
                    unknown.append(range.lowerBound - Item.headerSize..<range.upperBound)
                default: return .unknownItem
                }
            }
            return items.isAtEnd ? nil : .malformed
        }
        if let fault { return fault }
        guard let state = ranges[Self.permanentState] else { return .malformed }
        let payload = StatePayload(
            permanent: try copy([state], of: plaintext),
            isComplete: ranges[Self.manufactureComplete] != nil,
            endorsement: ranges[Self.endorsement].map { range in plaintext.withBytes { Array($0[range]) } } ?? [],
            unknown: unknown.isEmpty ? nil : try copy(unknown, of: plaintext)
        )
        // A state that is complete and empty passes: libtpms refuses it at the start, and no new TPM takes its place.
        return .payload(payload)
    }

    private static func copy(_ ranges: [Range<Int>], of plaintext: SecretBytes) throws(Failure) -> SecretBytes {
        let copy = try SecretBytes(capacity: max(ranges.reduce(0) { $0 + $1.count }, 1))
        plaintext.withBytes { bytes in
            for range in ranges {
                let isWhole = copy.append(copying: UnsafeRawBufferPointer(rebasing: bytes[range]))
                precondition(isWhole)
            }
        }
        return copy
    }

    /// The list of items, to be encrypted in place: a copy of the secret would need more locked memory.
    func items() throws(Failure) -> SecretMessage {
        let prefix = Item.header(Self.permanentState, count: permanent.count)
        var suffix = isComplete ? Item.header(Self.manufactureComplete, count: 0) : []
        if !endorsement.isEmpty { suffix += Item.header(Self.endorsement, count: endorsement.count) + endorsement }
        guard let unknown else { return SecretMessage(prefix: prefix, secret: permanent, suffix: suffix) }
        let both = try SecretBytes(capacity: permanent.count + suffix.count + unknown.count)
        _ = both.append(copying: permanent) && both.append(copying: suffix) && both.append(copying: unknown)
        return SecretMessage(prefix: prefix, secret: both)
    }

    /// The same payload with what the host keeps beside the TPM's state.
    func keeping(_ endorsement: [UInt8], _ unknown: SecretBytes?) -> StatePayload {
        StatePayload(
            permanent: permanent,
            isComplete: isComplete,
            endorsement: self.endorsement.isEmpty ? endorsement : self.endorsement,
            unknown: self.unknown ?? unknown
        )
    }
}
