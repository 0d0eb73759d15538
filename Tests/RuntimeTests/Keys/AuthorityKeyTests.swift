import AuthorityClient
import Crypto
import CryptoCertificates
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeState
import TestSupport
import Testing

/// The file of the certificate authority's key.
@Suite struct AuthorityKeyTests {
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

    private var file: AuthorityKeyFile { AuthorityKeyFile(hostPaths) }

    private func made() throws -> AuthorityKey {
        AuthorityKey(try secret(9), chain: [[0x30, 0], [0x30, 1, 7]])
    }

    private func bytes(_ secret: SecretBytes) -> [UInt8] { secret.withBytes { Array($0) } }

    @Test func whatWasStoredIsLoaded() throws {
        #expect(try file.load(ring(1)) == nil && !file.exists())
        let key = try file.loadOrStore(ring(1)) { () throws(Failure) in try must { try made() } }
        #expect(bytes(key.key) == bytes(try secret(9)) && key.chain == [[0x30, 0], [0x30, 1, 7]])
        #expect(try file.exists())
        let content = try temporary.read("keys/authority.key")
        #expect(!content.indices.contains { content[$0...].starts(with: bytes((try? secret(9)) ?? key.key)) })
        // Another one is not made.
        let again = try file.loadOrStore(ring(1)) { () throws(Failure) in throw Failure("no", because: "key") }
        #expect(bytes(again.key) == bytes(key.key))
    }

    private func must<Value>(_ body: () throws -> Value) throws(Failure) -> Value {
        do { return try body() } catch { throw Failure("cannot test", because: "\(error)") }
    }

    @Test func anotherMasterKeyDoesNotOpenIt() throws {
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try must { try made() } }
        let failure = #expect(throws: Failure.self) { _ = try file.load(ring(2)) }
        let (one, two) = (Hexadecimal.encode(try ring(1).current.id), Hexadecimal.encode(try ring(2).current.id))
        #expect(failure?.why == "it needs the master key \(one), and this host has \(two)")
    }

    @Test func aRotationWritesItUnderTheNewKeyAlone() throws {
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try must { try made() } }
        try file.rewrap(ring(2, 1))
        #expect(bytes(try #require(try file.load(ring(2))).key) == bytes(try secret(9)))
        #expect(throws: Failure.self) { _ = try file.load(ring(1)) }
        let before = try temporary.read("keys/authority.key")
        try file.rewrap(ring(2, 1))
        #expect(try temporary.read("keys/authority.key") == before)
        #expect(try entries(of: temporary.directory("keys"), "keys") == ["authority.key"])
        let copy = try #require(try file.copy(ring(3, 2)))
        #expect(bytes(copy) != before)
    }

    /// Where a master key is imported with what it encrypts.
    @Test func itIsTakenOverUnlessThereIsAnother() throws {
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try must { try made() } }
        let content = try #require(try file.copy(ring(1)))
        #expect(try file.restore(content, ring(1)))
        unlink(hostPaths.authorityKey)
        #expect(throws: Failure.self) { _ = try file.restore(content, ring(2)) }
        #expect(try !file.exists())
        #expect(try file.restore(content, ring(1)))
        #expect(bytes(try #require(try file.load(ring(1))).key) == bytes(try secret(9)))
        // One that the host has made for itself stays.
        unlink(hostPaths.authorityKey)
        let own = AuthorityKey(try secret(8), chain: [[0x30, 1, 8]])
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in own }
        #expect(try !file.restore(content, ring(1)))
        #expect(bytes(try #require(try file.load(ring(1))).key) == bytes(try secret(8)))
    }

    private func revoked(_ numbers: UInt8...) throws -> [RevokedCertificate] {
        try numbers.map { try #require(RevokedCertificate(serialNumber: [$0, 1], time: UInt64($0))) }
    }

    @Test func whatWasRevokedStaysSo() throws {
        let none = #expect(throws: Failure.self) { try file.revoke(revoked(1), ring(1)) }
        #expect(none?.why == "the host has no certificate authority yet")
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try must { try made() } }
        let before = try #require(try file.copy(ring(1)))
        #expect(try file.revoke(revoked(1, 2), ring(1)) == 2 && file.revoke(revoked(2, 3, 3), ring(1)) == 1)
        #expect(try file.load(ring(1))?.revoked == revoked(1, 2, 3))
        // A new master key, and a copy that goes elsewhere, have it as well.
        try file.rewrap(ring(2, 1))
        #expect(try file.load(ring(2))?.revoked == revoked(1, 2, 3))
        let copy = try #require(try file.copy(ring(2)))
        // What comes back from a copy of before takes nothing away; one of later brings what it has.
        #expect(try file.restore(before, ring(2, 1)))
        #expect(try file.load(ring(2))?.revoked == revoked(1, 2, 3))
        unlink(hostPaths.authorityKey)
        #expect(try file.restore(before, ring(2, 1)) && file.load(ring(2, 1))?.revoked == [])
        #expect(try file.restore(copy, ring(2, 1)) && file.load(ring(2, 1))?.revoked == revoked(1, 2, 3))
    }

    /// A file of the first version, which has no list.
    @Test func theFirstVersionIsRead() throws {
        let master = try MasterKey(secret(1)), salt = [UInt8](repeating: 5, count: 32)
        var fields = ByteWriter()
        fields.write(master.id + salt + [1, 0, 2, 0x30, 0])
        let sealed = try AES256GCM.seal(
            SecretMessage(prefix: [], secret: secret(9), suffix: []),
            key: HKDF.key(from: master.key, salt: salt, info: Array("container-vtpm authority 1".utf8)),
            nonce: [UInt8](repeating: 0, count: AES256GCM.nonceSize),
            associatedData: fields.bytes
        )
        fields.write(UInt16(sealed.count))
        fields.write(sealed)
        var whole = ByteWriter()
        whole.write(Array("CVTPMCA\n".utf8) + [0, 1])
        whole.write(UInt32(14 + fields.bytes.count + 32))
        whole.write(fields.bytes)
        whole.write(try SHA256.digest(whole.bytes))
        _ = try temporary.directory("keys")
        try temporary.write("keys/authority.key", whole.bytes)
        chmod(hostPaths.authorityKey, 0o600)
        let loaded = try #require(try file.load(ring(1)))
        #expect(bytes(loaded.key) == bytes(try secret(9)) && loaded.chain == [[0x30, 0]] && loaded.revoked == [])
        #expect(try file.revoke(revoked(1), ring(1)) == 1)
        #expect(bytes(try #require(try file.load(ring(1))).key) == bytes(try secret(9)))
    }

    @Test func aChangedFileIsRefused() throws {
        _ = try file.loadOrStore(ring(1)) { () throws(Failure) in try must { try made() } }
        try expectNoChangeIsRead(of: "keys/authority.key", in: temporary) { _ = try file.load(ring(1)) }
    }
}
