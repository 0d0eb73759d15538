import Platform
import VTPMProxy

/// The keys that a TPM is to have at fixed handles, and its banks of PCRs.
public struct RequestedKeys: Equatable, Sendable {
    /// Those of a TPM that is manufactured.
    public var ofNew: StandardKeys
    /// Those of a TPM that was manufactured before, and may have lost them by TPM2_Clear, or never had them.
    public var ofExisting: StandardKeys
    /// The banks of PCRs of a TPM that is manufactured; one that exists keeps its own.
    public var banks: PCRBanks

    /// No keys.
    public static let none = RequestedKeys(ofNew: [], ofExisting: [])

    /// Creates a request.
    public init(ofNew: StandardKeys, ofExisting: StandardKeys, banks: PCRBanks = .all) {
        self.ofNew = ofNew
        self.ofExisting = ofExisting
        self.banks = banks
    }

    /// What a TPM is given that is manufactured, or one that was.
    public func provision(isNew: Bool) -> TPMProvision {
        TPMProvision(keys: isNew ? ofNew : ofExisting, banks: banks)
    }

    /// Whether a worker may leave these keys out: of a TPM that has served before, and of those that it was asked for.
    public func admit(_ refused: [RefusedKey], isNew: Bool) -> Bool {
        refused.allSatisfy { !isNew && ofExisting.contains(StandardKeys($0.key)) }
    }

    func encode(into writer: inout ByteWriter) {
        TPMProvision(keys: ofNew, banks: banks).encode(into: &writer)
        writer.write(ofExisting.rawValue)
    }

    /// Reads a request; returns nil if it names keys that this version does not know.
    init?(_ reader: inout ByteReader) {
        guard let new = TPMProvision(&reader), let existing = reader.read(UInt16.self) else { return nil }
        self.init(ofNew: new.keys, ofExisting: StandardKeys(rawValue: existing), banks: new.banks)
        guard ofExisting.isKnown else { return nil }
    }
}
