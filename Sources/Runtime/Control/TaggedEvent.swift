import Platform

/// What a launch is measured by: a TCG_PCClientTaggedEvent, whose bytes are both what the TPM digests and what the event log has.
///
/// TCG PC Client Platform Firmware Profile, 10.4.2.1
public enum TaggedEvent: UInt32, Sendable {
    /// The statement about what runs, "cvtL".
    case launch = 0x6376_744c
    /// The statement about the instance and the run, "cvtI".
    case instance = 0x6376_7449

    /// The largest event that is measured, in bytes.
    public static let sizeLimit = WorkerReply.stateLimit
    /// The largest event about an instance, in bytes.
    public static let instanceLimit = 2048

    /// The largest log of a launch, in bytes: each event is in two PCRs, with digests of four algorithms.
    public static let logLimit = 2 * (sizeLimit + instanceLimit) + 4096

    /// The size of what precedes the statement, in bytes: its tag and its size, both with the least significant byte first.
    public static let headerSize = 8

    /// Returns the bytes of an event with this statement.
    public func encoded(_ statement: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.headerSize + statement.count)
        for value in [rawValue, UInt32(clamping: statement.count)] {
            for shift in [0, 8, 16, 24] { bytes.append(UInt8(value >> UInt32(shift) & 0xff)) }
        }
        return bytes + statement
    }

    /// Returns the statement of an event; nil if the bytes are no such event.
    public func statement(in bytes: [UInt8]) -> [UInt8]? {
        guard bytes.count >= Self.headerSize else { return nil }
        let statement = Array(bytes[Self.headerSize...])
        return encoded(statement) == bytes ? statement : nil
    }
}
