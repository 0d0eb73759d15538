import Configuration
import Crypto
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeState
import TestSupport
import Testing

@testable import RuntimeHostTPM

/// The file of the key by which the host attests.
@Suite struct AttestationKeyFileTests {
    private let temporary: TemporaryDirectory
    private let hostPaths: HostPaths

    init() throws {
        temporary = try TemporaryDirectory()
        hostPaths = HostPaths(below: temporary.path, programs: "")
    }

    private func ring(_ keys: UInt8...) throws -> KeyRing {
        let masters = try keys.map { try MasterKey(secret($0)) }
        return KeyRing(masters[0], previous: masters.count > 1 ? masters[1] : nil)
    }

    private var file: AttestationKeyFile { AttestationKeyFile(hostPaths) }

    /// A key that no TPM has made: the base point of NIST P-256. FIPS 186-4, D.1.2.3
    private func made(_ number: UInt8 = 7) throws(Failure) -> AttestationKeyFile.Contents {
        let point = [
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        ]
        var area = ByteWriter()
        area.write(QuotingKey.template.dropLast(4))
        for coordinate in point { area.write(sized: Hexadecimal.decode(coordinate) ?? []) }
        let wrapped = WrappedAttestationKey(
            publicArea: area.bytes,
            privateArea: [number, 8, 9],
            parentName: [0, 11] + [UInt8](repeating: 3, count: 32),
            endorsementName: [0, 11] + [UInt8](repeating: 4, count: 32)
        )
        guard let wrapped else { throw Failure("cannot test", because: "the key is none") }
        let value = try SecretBytes(capacity: 32)
        _ = value.append(copying: [UInt8](repeating: 9, count: 32))
        return .init(wrapped, value)
    }

    private func bytes(_ secret: SecretBytes) -> [UInt8] { secret.withBytes { Array($0) } }

    @Test func whatWasStoredIsLoaded() throws {
        #expect(try file.load(ring(1)) == nil && !file.exists())
        let first = try file.loadOrStore(ring(1)) { () throws(Failure) in try made() }
        #expect(try first.wrapped == made().wrapped && bytes(first.authorization) == bytes(made().authorization))
        let content = try temporary.read("keys/attestation.key")
        #expect(!content.indices.contains { content[$0...].starts(with: [UInt8](repeating: 9, count: 32)) })
        // Another one is not made, but where that is wanted.
        let again = try file.loadOrStore(ring(1)) { () throws(Failure) in throw Failure("no", because: "key") }
        #expect(again.wrapped == first.wrapped)
        try file.replace(with: made(77), ring(1))
        #expect(try file.load(ring(1))?.wrapped == made(77).wrapped)
        #expect(try entries(of: temporary.directory("keys"), "keys") == ["attestation.key"])
    }

    @Test func anotherMasterKeyDoesNotOpenIt() throws {
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try made() }
        let failure = #expect(throws: Failure.self) { _ = try file.load(ring(2)) }
        let (one, two) = (Hexadecimal.encode(try ring(1).current.id), Hexadecimal.encode(try ring(2).current.id))
        #expect(failure?.why == "it needs the master key \(one), and this host has \(two)")
        // It stands in the way of no rotation, and of no backup.
        #expect(try !file.rewrap(ring(2)) && file.copy(ring(2)) == nil)
    }

    @Test func aRotationWritesItUnderTheNewKeyAlone() throws {
        #expect(try file.rewrap(ring(1)))
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try made() }
        #expect(try file.rewrap(ring(2, 1)) && file.rewrap(ring(2, 1)))
        #expect(try file.load(ring(2))?.wrapped == made().wrapped)
        #expect(throws: Failure.self) { _ = try file.load(ring(1)) }
        let copy = try #require(try file.copy(ring(2)))
        #expect(try bytes(copy).count == temporary.read("keys/attestation.key").count)
    }

    @Test func aChangedFileIsRefused() throws {
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try made() }
        try expectNoChangeIsRead(of: "keys/attestation.key", in: temporary) { _ = try file.load(ring(1)) }
    }

    /// A master key is not made beside a file that needs another one.
    @Test func itNeedsAMasterKeyThatIsThere() throws {
        var configuration = Configuration()
        configuration.key = .file(path: "\(temporary.path)/keys/master.key")
        func open() throws(Failure) { _ = try HostContext(hostPaths, configuration, credentialsDirectory: nil) }
        #expect(try !HostContext.needsMasterKey(hostPaths))
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try made() }
        #expect(try HostContext.needsMasterKey(hostPaths) && !HostContext.isUsed(hostPaths))
        let failure = #expect(throws: Failure.self) { try open() }
        #expect(failure?.description.hasPrefix("cannot load the master key ") == true, "\(failure?.description ?? "")")
        #expect(!temporary.exists("keys/master.key"))
    }
}
