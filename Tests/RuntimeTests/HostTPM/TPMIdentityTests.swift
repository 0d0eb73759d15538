import Platform
import Testing

@testable import RuntimeHostTPM

/// What distinguishes one TPM from another.
@Suite struct TPMIdentityTests {
    private let temporary: TemporaryDirectory

    init() throws { temporary = try TemporaryDirectory() }

    @Test func aTPMIsKnownByItsKey() throws {
        let tpm = try SoftwareTPM(in: "\(temporary.path)/tpm"), other = try SoftwareTPM(in: "\(temporary.path)/other")
        for transport in [tpm, other] { try HostTPM(transport: transport).makeStorageKey(from: StorageKey.template) }
        let identity = try HostTPM(transport: tpm).identity()
        // The handle, then the name of a key: an algorithm and a SHA-256.
        #expect(identity.count == 4 + 34 && identity.prefix(6) == [0x81, 0, 0, 1, 0, 0x0b])
        #expect(try HostTPM(transport: other).identity() != identity)
        tpm.stop()
        try tpm.start()
        #expect(try HostTPM(transport: tpm).identity() == identity)
    }

    /// A TPM that keeps no key is known as long as the host runs.
    @Test func withoutAKeyTheResetsCount() throws {
        let tpm = try SoftwareTPM(in: "\(temporary.path)/tpm")
        let identity = try HostTPM(transport: tpm).identity()
        #expect(identity.count == 4)
        #expect(try HostTPM(transport: tpm).identity() == identity)
        tpm.stop()
        try tpm.start()
        #expect(try HostTPM(transport: tpm).identity() != identity)
        #expect(try tpm.temporaryHandles() == [])
    }
}
