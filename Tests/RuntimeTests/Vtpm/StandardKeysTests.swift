import Crypto
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

/// The keys that a TPM has at fixed handles, made by the real worker and read by the real tpm2-tools.
@Suite(.serialized) struct StandardKeysTests {
    private static let all = RequestedKeys(ofNew: .standard, ofExisting: .standard)
    private static let handles = "- 0x81000001\n- 0x81010001\n- 0x8101000A\n"

    private func start(
        in temporary: TemporaryDirectory,
        _ keys: RequestedKeys = all,
        isEphemeral: Bool = false
    ) throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, isEphemeral: isEphemeral, tpmKeys: keys)
        try tpm.create()
        return tpm
    }

    /// The public key at a handle.
    private func key(_ handle: String, of tpm: VTPMUnderTest) throws -> String {
        try tpm.run("tpm2_readpublic -Q -c \(handle) -f pem -o key.pem && cat key.pem")
    }

    private func persistentHandles(of tpm: VTPMUnderTest) throws -> String {
        try tpm.run("tpm2_getcap handles-persistent")
    }

    /// What libtpms has stored last.
    private func permanentState(in temporary: TemporaryDirectory) throws -> [UInt8] {
        let ring = KeyRing(try MasterKey(secret(1)))
        let index = try HostIndex(in: temporary.directory("index"), path: "", keys: ring)
        let repository = StateRepository(in: try temporary.directory("states"), path: "", keys: ring, index: index)
        return try repository.exportState("web").withBytes { Array($0) }
    }

    // MARK: - A new TPM

    @Test(arguments: [false, true]) func aNewTPMHasThemWhereOthersLook(isEphemeral: Bool) throws {
        let tpm = try start(in: TemporaryDirectory(), isEphemeral: isEphemeral)
        #expect(try persistentHandles(of: tpm) == Self.handles)
        #expect(try tpm.run("tpm2_getcap handles-transient").isEmpty)
        // tpm2_createek takes the same templates from its own tables.
        for (handle, algorithm) in [("0x81010001", "rsa"), ("0x8101000a", "ecc")] {
            let made = try tpm.run(
                "tpm2_createek -Q -c ek.ctx -G \(algorithm) -f pem -u made.pem && tpm2_flushcontext -Q -t && cat made.pem"
            )
            #expect(try key(handle, of: tpm) == made)
        }
        // The unique field is 256 zero bytes, after their number with the lower byte first.
        let storage = try tpm.run(
            """
            (printf '\\000\\001' && head -c 256 /dev/zero) >unique
            tpm2_createprimary -Q -C o -G rsa2048:null:aes128cfb -g sha256 -u unique -c srk.ctx -f pem -o made.pem \
                -a 'restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda'
            tpm2_flushcontext -Q -t && cat made.pem
            """
        )
        #expect(try key("0x81000001", of: tpm) == storage)
        #expect(try tpm.stop() == .exited(0))
    }

    /// A credential for the key at the handle is activated with it, by a policy as any owner satisfies it.
    @Test(arguments: ["0x81010001", "0x8101000a"])
    func aCredentialIsActivatedWithTheKey(handle: String) throws {
        let tpm = try start(in: TemporaryDirectory())
        try tpm.run(
            """
            set -e
            tpm2_createak -Q -C \(handle) -c ak.ctx -G ecc -g sha256 -s ecdsa -n ak.name && tpm2_flushcontext -Q -t
            tpm2_readpublic -Q -c \(handle) -o ek.tpm2b
            printf 0123456789abcdef >secret
            tpm2_makecredential -Q -T none -u ek.tpm2b -s secret -n $(od -An -tx1 ak.name | tr -d ' \\n') -o blob
            tpm2_startauthsession -Q --policy-session -S session && tpm2_policysecret -Q -S session -c e
            tpm2_activatecredential -Q -c ak.ctx -C \(handle) -i blob -o opened -P session:session && cmp secret opened
            """
        )
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func withoutAnyItHasNone() throws {
        let tpm = try start(in: TemporaryDirectory(), .none)
        #expect(try persistentHandles(of: tpm).isEmpty)
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func onlyThoseAreMadeThatAreAskedFor() throws {
        let keys = StandardKeys([StandardKeys(.endorsementP256), StandardKeys(.storageRSA)])
        let tpm = try start(in: TemporaryDirectory(), RequestedKeys(ofNew: keys, ofExisting: []))
        #expect(try persistentHandles(of: tpm) == "- 0x81000001\n- 0x8101000A\n")
        #expect(try tpm.stop() == .exited(0))
    }

    // MARK: - A later start

    @Test func aStateFromBeforeGetsThemAndKeepsItsIdentity() throws {
        let temporary = try TemporaryDirectory()
        let before = try start(in: temporary, .none)
        let identity = try before.endorsementKey()
        #expect(try before.stop() == .exited(0))

        let after = try start(in: temporary)
        #expect(try persistentHandles(of: after) == Self.handles)
        #expect(try after.endorsementKey() == identity)
        #expect(try after.stop() == .exited(0))
    }

    @Test(arguments: [true, false]) func whatTPM2ClearTookAwayComesBackWhereThatIsAskedFor(isAsked: Bool) throws {
        let temporary = try TemporaryDirectory()
        let keys = isAsked ? Self.all : RequestedKeys(ofNew: .standard, ofExisting: [])
        let before = try start(in: temporary, keys)
        let endorsement = try ["0x81010001", "0x8101000a"].map { try key($0, of: before) }
        let storage = try key("0x81000001", of: before)
        try before.run("tpm2_clear -Q -c l")
        #expect(try persistentHandles(of: before).isEmpty)
        #expect(try before.stop() == .exited(0))

        let after = try start(in: temporary, keys)
        if isAsked {
            #expect(try ["0x81010001", "0x8101000a"].map { try key($0, of: after) } == endorsement)
            // TPM2_Clear replaces the seed of the owner's hierarchy.
            #expect(try key("0x81000001", of: after) != storage)
        } else {
            #expect(try persistentHandles(of: after).isEmpty)
        }
        #expect(try after.stop() == .exited(0))
    }

    @Test func aStartThatFindsThemStoresNothing() throws {
        let temporary = try TemporaryDirectory()
        #expect(try start(in: temporary).stop() == .exited(0))
        let state = try permanentState(in: temporary)
        let before = try WorkerUnderTest(state: state)
        try before.serve()
        let after = try WorkerUnderTest(state: state, keys: .standard)
        try after.serve()
        #expect(before.stateCount == after.stateCount && before.state == after.state && after.refused == [])
        for worker in [before, after] { #expect(try worker.end() == .exited(0)) }
    }

    /// What a tenant has at such a handle is its own.
    @Test func whatATenantHasPutThereStays() throws {
        let temporary = try TemporaryDirectory()
        let before = try start(in: temporary)
        try before.run(
            "tpm2_evictcontrol -Q -C o -c 0x81000001 && tpm2_createprimary -Q -C o -G ecc -c own.ctx"
                + " && tpm2_evictcontrol -Q -C o -c own.ctx 0x81000001 && tpm2_flushcontext -Q -t"
        )
        let own = try key("0x81000001", of: before)
        #expect(try before.stop() == .exited(0))

        let after = try start(in: temporary)
        #expect(try key("0x81000001", of: after) == own)
        #expect(try persistentHandles(of: after) == Self.handles)
        #expect(try after.stop() == .exited(0))
    }

    /// Each key that was kept is stored, and the next start goes on with the rest.
    @Test(arguments: 0...2) func aStartThatIsKilledWhileItPutsThemBackIsMadeUpFor(kept: Int) throws {
        let temporary = try TemporaryDirectory()
        #expect(try start(in: temporary, .none).stop() == .exited(0))

        let killed = try WorkerUnderTest(state: permanentState(in: temporary), keys: .standard)
        while killed.stateCount <= kept {
            try #require(try killed.receive().kind == .state)
            if killed.hasSaidAll { try killed.channel.send(WorkerRequest.stored) }
        }
        killed.worker.kill()
        let after = try WorkerUnderTest(state: killed.state, keys: .standard)
        try after.serve()
        let used = try after.transmit(TPMCommand.persistentHandles).withUnsafeBytes { TPMCommand.handles(in: $0) }
        #expect(used == [0x8100_0001, 0x8101_0001, 0x8101_000a] && after.refused == [])
        #expect(try after.end() == .exited(0))
    }

    // MARK: - What stands in the way

    /// Has a tenant prepare a TPM, and starts it again; returns what the worker says that it cannot do.
    private func refusals(after command: String, finding handles: String) throws -> [RefusedKey] {
        let temporary = try TemporaryDirectory()
        let tenant = try start(in: temporary)
        try tenant.run(command)
        #expect(try tenant.stop() == .exited(0))

        // The container starts all the same.
        let again = try start(in: temporary)
        #expect(try persistentHandles(of: again) == handles)
        #expect(try again.stop() == .exited(0))

        let worker = try WorkerUnderTest(state: permanentState(in: temporary), keys: .standard)
        try worker.serve()
        defer { _ = try? worker.end() }
        return worker.refused
    }

    @Test func anAuthorizationOfTheTenantsIsNotTriedAgainst() throws {
        let refused = try refusals(
            after: "tpm2_evictcontrol -Q -C o -c 0x81010001 && tpm2_evictcontrol -Q -C o -c 0x81000001"
                + " && tpm2_changeauth -Q -c o secret",
            finding: "- 0x8101000A\n"
        )
        #expect(refused == [RefusedKey(.endorsementRSA, code: 0x9a2), RefusedKey(.storageRSA, code: 0x9a2)])
        let reason = "the tenant has set an authorization of the owner's or of its hierarchy"
        #expect(refused.allSatisfy { $0.reason == reason })
    }

    /// TPM2_CreatePrimary or TPM2_EvictControl fails, whatever the TPM has said of its room before.
    @Test(arguments: [0x131, 0x120]) func aNewTPMWithoutAKeyIsNone(code: Int) throws {
        let worker = try WorkerUnderTest("ObservedLibrary", ["refuse", "\(code)"], keys: .standard)
        var heard = try worker.receive()
        while heard.kind == .state {
            if worker.hasSaidAll { try worker.channel.send(WorkerRequest.stored) }
            heard = try worker.receive()
        }
        #expect(heard.kind == .failure)
        #expect(heard.failure == "cannot make the TPM's key ek-rsa-2048: the TPM's NV memory is full")
        #expect(try worker.worker.wait() == .exited(1))
    }

    @Test(arguments: [0x131, 0x120]) func anExistingTPMStartsWithoutAKeyThatFails(code: Int) throws {
        let temporary = try TemporaryDirectory()
        #expect(try start(in: temporary, .none).stop() == .exited(0))
        let state = try permanentState(in: temporary)
        let worker = try WorkerUnderTest("ObservedLibrary", ["refuse", "\(code)"], state: state, keys: .standard)
        try worker.serve()
        #expect(worker.refused == StandardKeys.standard.elements.map { RefusedKey($0, code: 0x14b) })
        #expect(try worker.end() == .exited(0))
    }

    /// A tenant that stands in the way does so at each start, which must not take the time of an RSA key.
    @Test(arguments: ["tpm2_changeauth -Q -c o secret", "tpm2_changeauth -Q -c e secret"])
    func nothingIsComputedThatCannotBeKept(command: String) throws {
        let temporary = try TemporaryDirectory()
        let tenant = try start(in: temporary)
        try tenant.run("tpm2_evictcontrol -Q -C o -c 0x81010001 && \(command)")
        #expect(try tenant.stop() == .exited(0))

        let worker = try WorkerUnderTest("ObservedLibrary", state: permanentState(in: temporary), keys: .standard)
        try worker.serve()
        // Each command that it has executed, of which these two are TPM2_CreatePrimary and TPM2_EvictControl.
        let record = try worker.transmit([0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0xb0, 0]).dropFirst(10)
        let codes = stride(from: 10, to: 10 + record.count, by: 4).map { [record[$0], record[$0 + 1]] }
        #expect(codes.first == [0x01, 0x44] && !codes.contains([0x01, 0x31]) && !codes.contains([0x01, 0x20]))
        #expect(worker.refused == [RefusedKey(.endorsementRSA, code: 0x9a2)])
        #expect(try worker.end() == .exited(0))
    }

    @Test func theEndorsementHierarchysAuthorizationStopsItsKeysAlone() throws {
        let refused = try refusals(
            after: "tpm2_evictcontrol -Q -C o -c 0x81010001 && tpm2_evictcontrol -Q -C o -c 0x81000001"
                + " && tpm2_changeauth -Q -c e secret",
            finding: "- 0x81000001\n- 0x8101000A\n"
        )
        #expect(refused == [RefusedKey(.endorsementRSA, code: 0x9a2)])
    }

    /// An object takes more room than what is left, and nothing of the tenant's makes way for it.
    @Test func aFullMemoryStaysAsItIs() throws {
        let refused = try refusals(
            after: """
                tpm2_evictcontrol -Q -C o -c 0x81010001
                index=0x1500000
                for size in 2048 512 64 8; do
                    while tpm2_nvdefine -Q -C o -s $size -a 'ownerread|ownerwrite' $index 2>/dev/null; do
                        index=$(printf '0x%x' $((index + 1)))
                    done
                done
                tpm2_createprimary -Q -C o -G ecc -c own.ctx && tpm2_flushcontext -Q -t
                handle=0x81000100
                while tpm2_evictcontrol -Q -C o -c own.ctx $handle 2>/dev/null; do
                    tpm2_flushcontext -Q -t
                    handle=$(printf '0x%x' $((handle + 1)))
                done
                tpm2_flushcontext -Q -t
                """,
            // Room for seven is kept from the indexes.
            finding: "- 0x81000001\n" + (0x8100_0100...0x8100_0104).map { "- 0x\(String($0, radix: 16))\n" }.joined()
                + "- 0x8101000A\n"
        )
        #expect(refused == [RefusedKey(.endorsementRSA, code: 0x14b)])
    }
}
