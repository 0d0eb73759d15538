import Platform
import VTPMProxy

/// The keys that a TPM is to have at fixed handles.
public struct RequestedKeys: Equatable, Sendable {
    /// Those of a TPM that is manufactured.
    public var ofNew: StandardKeys
    /// Those of a TPM that was manufactured before, and may have lost them by TPM2_Clear, or never had them.
    public var ofExisting: StandardKeys

    /// No keys.
    public static let none = RequestedKeys(ofNew: [], ofExisting: [])

    /// Creates a request.
    public init(ofNew: StandardKeys, ofExisting: StandardKeys) {
        self.ofNew = ofNew
        self.ofExisting = ofExisting
    }

    /// Those of a TPM that is manufactured, or of one that was.
    public func keys(isNew: Bool) -> StandardKeys { isNew ? ofNew : ofExisting }

    /// Whether a worker may leave these keys out: of a TPM that has served before, and of those that it was asked for.
    public func admit(_ refused: [RefusedKey], isNew: Bool) -> Bool {
        refused.allSatisfy { !isNew && ofExisting.contains(StandardKeys($0.key)) }
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(ofNew.rawValue)
        writer.write(ofExisting.rawValue)
    }

    /// Reads a request; returns nil if it names keys that this version does not know.
    init?(_ reader: inout ByteReader) {
        guard let new = reader.read(UInt16.self), let existing = reader.read(UInt16.self) else { return nil }
        self.init(ofNew: StandardKeys(rawValue: new), ofExisting: StandardKeys(rawValue: existing))
        guard ofNew.isKnown, ofExisting.isKnown else { return nil }
    }
}
