import Platform
import Testing

@testable import RuntimeHostTPM

/// Test fixture: a TPM command as a tenant writes it. TPM 2.0 Library, Part 1, 18; the codes are those of Part 2, 6.5.2
struct TPMRequest {
    var code: UInt32
    var handles: [UInt32] = []
    /// The sessions, each with an empty nonce and an empty password.
    var sessions: [UInt32] = []
    var parameters: [UInt8] = []

    /// A command whose first handle is authorized with the empty password, where it says so.
    init(
        _ code: UInt32,
        _ handles: [UInt32] = [],
        isAuthorized: Bool = false,
        _ parameters: (inout ByteWriter) -> Void = { _ in }
    ) {
        self.code = code
        self.handles = handles
        self.sessions = isAuthorized ? [Handle.password] : []
        var writer = ByteWriter()
        parameters(&writer)
        self.parameters = writer.bytes
    }

    var bytes: [UInt8] {
        var body = ByteWriter()
        for handle in handles { body.write(handle) }
        if !sessions.isEmpty {
            body.write(UInt32(9 * sessions.count))
            for session in sessions {
                body.write(session)
                // No nonce; a session that goes on, but for the password, which has no attributes; no HMAC.
                body.write([0, 0, session == Handle.password ? 0 : 1, 0, 0] as [UInt8])
            }
        }
        body.write(parameters)
        var command = ByteWriter()
        command.write(UInt16(sessions.isEmpty ? 0x8001 : 0x8002))
        command.write(UInt32(10 + body.bytes.count))
        command.write(code)
        command.write(body.bytes)
        return command.bytes
    }
}

extension ByteWriter {
    /// A TPML_PCR_SELECTION of one PCR in the SHA-256 bank.
    mutating func write(pcr: Int) {
        write([0, 0, 0, 1, 0, 0x0b, 3] as [UInt8])
        var map: [UInt8] = [0, 0, 0]
        map[pcr / 8] = 1 << (pcr % 8)
        write(map)
    }
}

/// Handles that are always there. TPM 2.0 Library, Part 2, 7.4
enum Handle {
    static let owner: UInt32 = 0x4000_0001
    static let null: UInt32 = 0x4000_0007
    static let password: UInt32 = 0x4000_0009
    static let lockout: UInt32 = 0x4000_000a
    static let endorsement: UInt32 = 0x4000_000b
    static let platform: UInt32 = 0x4000_000c
    static let platformNV: UInt32 = 0x4000_000d
}

/// Test fixture: a TPM's answer, read as far as a test needs it.
struct TPMAnswer {
    let bytes: [UInt8]

    /// The response code; one that no TPM gives where there is no whole header.
    var code: UInt32 {
        var reader = ByteReader(Array(bytes.dropFirst(6)))
        return reader.read(UInt32.self) ?? .max
    }

    /// The handle that a command has made.
    var handle: UInt32? {
        var reader = ByteReader(Array(bytes.dropFirst(10)))
        return reader.read(UInt32.self)
    }

    /// The parameters of an answer with this many handles, with sessions or without.
    func parameters(handles: Int = 0) -> ByteReader {
        let isWithSessions = bytes.starts(with: [0x80, 0x02])
        return ByteReader(Array(bytes.dropFirst(10 + 4 * handles + (isWithSessions ? 4 : 0))))
    }
}

/// Test fixture: something that takes one TPM command and gives one answer.
typealias Transmit = (_ command: [UInt8]) throws -> [UInt8]

/// Sends a command that must succeed.
@discardableResult
func succeed(_ request: TPMRequest, _ transmit: Transmit) throws -> TPMAnswer {
    var answer = TPMAnswer(bytes: try transmit(request.bytes))
    // TPM_RC_RETRY: the TPM had to store something first (libtpms 0.9, the first use of a protected object).
    while answer.code == 0x922 { answer = TPMAnswer(bytes: try transmit(request.bytes)) }
    try #require(answer.code == 0, "\(hex(request.bytes)): \(hex(answer.bytes))")
    return answer
}

func hex(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}
