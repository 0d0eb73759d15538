import Platform

/// How often a TPM was started, as it says so itself and in each quote. TPMS_CLOCK_INFO, TPM 2.0 Library, Part 2, 10.11.1
public struct TPMResets: Equatable, Sendable {
    /// How often it was started from its state since it was made, or since the tenant's last TPM2_Clear.
    public let resetCount: UInt32
    /// How often it was restarted since then without a reset.
    public let restartCount: UInt32

    /// The size of a response with them, in bytes: the header, TPMS_TIME_INFO. Part 2, 10.11.2
    private static let responseSize = TPMCommand.headerSize + 25

    /// Creates the counts.
    public init(resetCount: UInt32, restartCount: UInt32) {
        self.resetCount = resetCount
        self.restartCount = restartCount
    }

    /// Reads the response to ``TPMCommand/readClock``; returns nil if it is an error, or malformed.
    public init?(response: UnsafeRawBufferPointer) {
        guard response.count == Self.responseSize, TPMCommand.responseCode(of: response) == TPMCommand.success,
            let resets: UInt32 = response.bigEndian(at: TPMCommand.headerSize + 16),
            let restarts: UInt32 = response.bigEndian(at: TPMCommand.headerSize + 20)
        else { return nil }
        self.init(resetCount: resets, restartCount: restarts)
    }

    /// Reads what ``encode(into:)`` writes; returns nil if it is malformed.
    public init?(_ reader: inout ByteReader) {
        guard let resets = reader.read(UInt32.self), let restarts = reader.read(UInt32.self) else { return nil }
        self.init(resetCount: resets, restartCount: restarts)
    }

    /// Writes both counts, in 32 bits each.
    public func encode(into writer: inout ByteWriter) {
        writer.write(resetCount)
        writer.write(restartCount)
    }
}

extension TPMCommand {
    /// TPM2_ReadClock. Part 3, 29.1
    public static let readClock: [UInt8] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x81]
}
