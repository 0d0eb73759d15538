import CLinux
import Glibc
import Platform
import Testing

@testable import RuntimeHostTPM

/// Test fixture: a swtpm in place of the host's hardware TPM, with a state that outlives it.
final class SoftwareTPM: TPMTransport {
    static let program = "/usr/bin/swtpm"

    private let directory: String
    private var process: RunningProgram?
    private var connection: Descriptor?

    /// Starts one on a state directory; an empty one becomes a new TPM.
    init(in directory: String) throws {
        self.directory = directory
        mkdir(directory, 0o700)
        try start()
    }

    deinit { stop() }

    func start() throws {
        // Never a skipped test: without swtpm nothing here would be tested at all.
        try #require(access(Self.program, X_OK) == 0, "swtpm is missing: run Tests/dependencies")
        let socket = "\(directory)/data"
        unlink(socket)
        process = try RunningProgram(
            ProgramLaunch(
                Self.program,
                [
                    "swtpm", "socket", "--tpm2", "--tpmstate", "dir=\(directory)", "--server",
                    "type=unixio,path=\(socket)",
                    "--ctrl", "type=unixio,path=\(directory)/control", "--flags", "not-need-init,startup-clear",
                    // It ends with the connection, also where a test ends without clean-up.
                    "--terminate",
                ]
            )
        )
        let deadline = Deadline(milliseconds: 60_000)
        while connection == nil {
            connection = try? Self.connect(to: socket)
            if connection == nil { try #require(!deadline.hasPassed, "swtpm does not listen"); poll(nil, 0, 5) }
        }
    }

    /// Ends it, as a host that is switched off does; what is not volatile stays.
    func stop() {
        connection = nil
        process?.kill()
        _ = try? process?.wait()
        process = nil
    }

    private static func connect(to path: String) throws -> Descriptor {
        let socket = Descriptor(
            owning: try systemCall("socket", "") { Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0) }
        )
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8) + [0]) }
        let number = socket.number
        try systemCall("connect", "") {
            withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
        return socket
    }

    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8] {
        guard let number = connection?.number else { throw Failure("cannot use swtpm", because: "it is stopped") }
        try systemCall("send", "cannot use swtpm") {
            command.withUnsafeBytes { Glibc.send(number, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
        }
        // A stream: the size in the header tells the end.
        var answer: [UInt8] = []
        var size = 10
        while answer.count < size {
            var rest = [UInt8](repeating: 0, count: size - answer.count)
            let count = try systemCall("read", "cannot use swtpm") { read(number, &rest, rest.count) }
            guard count > 0 else { throw Failure("cannot use swtpm", because: "it closed the connection") }
            answer += rest[..<count]
            if answer.count == 10 { size = answer[2..<6].reduce(0) { $0 << 8 | Int($1) } }
        }
        return answer
    }
}

/// Test fixture: what only tests ask of a TPM, in plain commands.
extension SoftwareTPM {
    /// Sends a command with the empty authorization for its first handle, and wants success.
    @discardableResult
    func send(
        _ code: UInt32,
        handles: [UInt32],
        isAuthorized: Bool = true,
        parameters: (inout ByteWriter) -> Void
    ) throws -> [UInt8] {
        var body = ByteWriter()
        for handle in handles { body.write(handle) }
        if isAuthorized {
            body.write(UInt32(9))
            body.write(UInt32(0x4000_0009))
            body.write([0, 0, 1, 0, 0] as [UInt8])
        }
        parameters(&body)
        var command = ByteWriter()
        command.write(UInt16(isAuthorized ? 0x8002 : 0x8001))
        command.write(UInt32(10 + body.bytes.count))
        command.write(code)
        command.write(body.bytes)
        let answer = try transmit(command.bytes)
        try #require(answer[6..<10].allSatisfy { $0 == 0 }, "\(code): \(answer)")
        return answer
    }

    /// TPM2_PCR_Extend of the SHA-256 bank.
    func extend(_ pcr: UInt32) throws {
        try send(0x182, handles: [pcr]) {
            $0.write(UInt32(1))
            $0.write(UInt16(0x000b))
            $0.write([UInt8](repeating: 7, count: 32))
        }
    }

    /// TPM2_EvictControl of what lies there: it is removed.
    func evict(_ handle: UInt32) throws {
        try send(0x120, handles: [0x4000_0001, handle]) { $0.write(handle) }
    }

    /// TPM2_HierarchyChangeAuth of the owner hierarchy.
    func setOwnerAuthorization() throws {
        try send(0x129, handles: [0x4000_0001]) {
            $0.write(UInt16(3))
            $0.write("abc".utf8)
        }
    }

    /// TPM2_NV_ReadPublic of an index.
    func publicArea(of index: UInt32) throws -> NVPublic {
        let answer = try send(0x169, handles: [index], isAuthorized: false) { _ in }
        let bytes = try firstSized(of: answer)
        return try #require(NVPublic(decoding: bytes))
    }

    /// TPM2_NV_DefineSpace, of an index that was not written yet.
    func define(_ area: NVPublic?) throws {
        var bytes = try #require(area).encoded
        bytes[6] &= ~0x20
        try send(0x12a, handles: [0x4000_0001]) {
            $0.write(UInt16(0))
            $0.write(sized: bytes)
        }
    }

    /// TPM2_NV_Increment, with the index's own authorization.
    func increment(_ index: UInt32) throws {
        try send(0x134, handles: [index, index]) { _ in }
    }

    /// TPM2_GetCapability, TPM_CAP_HANDLES: transient objects, and sessions that are loaded or saved.
    func temporaryHandles() throws -> [UInt32] {
        var handles: [UInt32] = []
        for first: UInt32 in [0x8000_0000, 0x0200_0000, 0x0300_0000] {
            let answer = try send(0x17a, handles: [], isAuthorized: false) {
                $0.write(UInt32(1))
                $0.write(first)
                $0.write(UInt32(64))
            }
            var reader = ByteReader(Array(answer[15...]))
            _ = reader.read(UInt32.self)
            while let handle = reader.read(UInt32.self) { handles.append(handle) }
        }
        return handles
    }

    /// Flushes what a client left behind that was told a wrong handle.
    func flushAll() throws {
        for handle in try temporaryHandles() {
            try send(0x165, handles: [], isAuthorized: false) { $0.write(handle) }
        }
    }
}

/// Test fixture: something between us and the TPM, which records all traffic and changes what a test wants.
final class Interposer: TPMTransport {
    let tpm: any TPMTransport
    private(set) var traffic: [[UInt8]] = []
    /// Answers in the TPM's place, where it answers at all; it is told the command's code.
    var answer: ((_ code: UInt32) -> [UInt8]?)?
    /// Changes an answer of the TPM.
    var change: ((_ code: UInt32, _ answer: [UInt8]) -> [UInt8])?

    init(before tpm: any TPMTransport) {
        self.tpm = tpm
    }

    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8] {
        let code = command[6..<10].reduce(0) { $0 << 8 | UInt32($1) }
        if let answer = answer?(code) { return answer }
        let answer = try tpm.transmit(command)
        traffic += [command, answer]
        return change?(code, answer) ?? answer
    }

    /// The last answer to a command that was recorded.
    func lastAnswer(to code: CommandCode) -> [UInt8]? {
        let pairs = stride(from: 0, to: traffic.count, by: 2).map { (traffic[$0], traffic[$0 + 1]) }
        return pairs.last { $0.0[6..<10].reduce(0) { $0 << 8 | UInt32($1) } == code.rawValue }?.1
    }
}

/// Test fixture: an answer of these parameters, without sessions.
func makeAnswer(tag: UInt16 = 0x8001, code: UInt32 = 0, _ body: [UInt8] = []) -> [UInt8] {
    var answer = ByteWriter()
    answer.write(tag)
    answer.write(UInt32(10 + body.count))
    answer.write(code)
    answer.write(body)
    return answer.bytes
}

/// Test fixture: the contents of the TPM2B that an answer without sessions begins with.
func firstSized(of answer: [UInt8]) throws -> [UInt8] {
    var reader = ByteReader(Array(answer.dropFirst(10)))
    let bytes = reader.readSized()
    return try #require(bytes)
}

/// Test fixture: templates of other storage keys than the usual one.
enum Templates {
    /// Template H-1 with the attributes of an SRK, RSA-2048.
    static let rsa: [UInt8] = {
        var area = ByteWriter()
        area.write(UInt16(0x0001))
        area.write(UInt16(0x000b))
        area.write(UInt32(0x0003_0472))
        area.write(UInt16(0))
        for value: UInt16 in [0x0006, 128, 0x0043, 0x0010, 2048, 0, 0, 256] { area.write(value) }
        area.write([UInt8](repeating: 0, count: 256))
        return area.bytes
    }()

    /// The usual one with another `unique`, which gives another key.
    static let otherECC: [UInt8] = Array(StorageKey.template.dropLast()) + [1]

    /// A signing key.
    static let signing: [UInt8] = {
        var area = ByteWriter()
        area.write(UInt16(0x0023))
        area.write(UInt16(0x000b))
        area.write(UInt32(0x0004_0072))
        area.write(UInt16(0))
        // No symmetric algorithm; ECDSA with SHA-256; P-256; no derivation; an empty point.
        for value: UInt16 in [0x0010, 0x0018, 0x000b, 0x0003, 0x0010, 0, 0] { area.write(value) }
        return area.bytes
    }()
}

/// The whole secret of a test.
let plaintext = (0..<32).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }

func makeSecret(_ bytes: [UInt8] = plaintext) throws -> SecretBytes {
    let secret = try SecretBytes(capacity: max(bytes.count, 1))
    try #require(secret.append(copying: bytes))
    return secret
}

func contents(_ secret: SecretBytes) -> [UInt8] { secret.withBytes { Array($0) } }

extension HostTPM {
    /// Keeps another storage key than the usual one.
    func makeStorageKey(from template: [UInt8]) throws {
        try link("cannot make a key").makeStorageKey(from: template)
    }
}
