import AuthorityClient
import Crypto
import CryptoCertificates
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

// What a start does with a TPM that has served before.
extension EndorsementTests {
    @Test func aLaterStartFindsAllAndAsksNobody() throws {
        let temporary = try TemporaryDirectory()
        let first = try Self.start(in: temporary)
        let before = try certificates(of: first)
        try first.run("tpm2_clear -Q -c l")
        #expect(try first.stop() == .exited(0))
        let second = try Self.start(in: temporary)
        #expect(second.authority == nil)
        #expect(try certificates(of: second) == before)
        #expect(try second.run("tpm2_getcap handles-persistent") == "- 0x81000001\n- 0x81010001\n- 0x8101000A\n")
        #expect(try second.stop() == .exited(0))
    }

    @Test func aStateFromBeforeIsEndorsedAndKeepsItsIdentity() throws {
        let temporary = try TemporaryDirectory()
        let before = try Self.start(in: temporary, .none, .none)
        let identity = try before.endorsementKey()
        #expect(try before.stop() == .exited(0))
        let after = try Self.start(in: temporary)
        #expect(try after.endorsementKey() == identity)
        #expect(try certificates(of: after).split(separator: "\n").count == 2)
        #expect(try record(in: temporary).level == .certificates)
        #expect(try after.stop() == .exited(0))
    }

    /// What a tenant has done stays, the container starts, and each later start tries again.
    @Test(arguments: [
        ("tpm2_changeauth -Q -c e secret", "the tenant has set an authorization of the endorsement hierarchy", 0),
        (
            "tpm2_nvdefine -Q -C o -s 8 -a 'ownerread|ownerwrite' 0x1c00002",
            "the tenant has made the NV index 0x01c00002", 1
        ),
    ])
    func whatATenantHasPutInTheWayStays(command: String, obstacle: String, certified: Int) throws {
        let temporary = try TemporaryDirectory()
        let tenant = try Self.start(in: temporary, Self.all, .none)
        try tenant.run(command)
        #expect(try tenant.stop() == .exited(0))
        for _ in 0..<2 {
            let after = try Self.start(in: temporary)
            let record = try record(in: temporary)
            #expect(record.level == .none && record.keys.count == 2 && after.authority != nil)
            #expect(record.keys.filter { !$0.certificate.isEmpty }.count == certified)
            #expect(record.keys[0].obstacle == obstacle)
            // A key that could not be asked for a proof is not recorded.
            #expect(record.keys.allSatisfy { $0.area.isEmpty == $0.obstacle.contains("authorization") })
            #expect(try after.stop() == .exited(0))
        }
    }

    /// A state that was copied has the same keys, and one of them alone has a certificate.
    @Test func aKeyOfAnotherStateIsNotCertified() throws {
        let temporary = try TemporaryDirectory()
        #expect(try Self.start(in: temporary, Self.all, .none).stop() == .exited(0))
        do {
            let repository = try Self.repository(in: temporary)
            try repository.importState("copy", repository.exportState("web"))
        }
        #expect(try Self.start(in: temporary).stop() == .exited(0))
        let copy = try Self.start(in: temporary, stateID: "copy")
        let record = try record(in: temporary, "copy")
        #expect(record.level == .none && record.keys.count == 2)
        #expect(record.keys.allSatisfy { $0.certificate.isEmpty && $0.obstacle == "another state has the same key" })
        #expect(try copy.run("tpm2_getcap handles-nv-index").isEmpty)
        #expect(try copy.stop() == .exited(0))
        // The one that was first is certified at each later start, too.
        #expect(try self.record(in: temporary).level == .certificates)
    }

    /// The configuration asks for another key than when the record was made.
    @Test func aKeyThatIsAskedForLaterIsCertified() throws {
        let temporary = try TemporaryDirectory()
        let one = StandardKeys(.endorsementP256)
        #expect(try Self.start(in: temporary, RequestedKeys(ofNew: one, ofExisting: one)).stop() == .exited(0))
        let before = try record(in: temporary)
        #expect(before.level == .certificates && before.keys.map(\.key) == [.endorsementP256])
        for isFirst in [true, false] {
            let after = try Self.start(in: temporary)
            #expect((after.authority != nil) == isFirst)
            #expect(try after.stop() == .exited(0))
        }
        let both = try record(in: temporary)
        #expect(both.level == .certificates && both.keys.map(\.key) == [.endorsementRSA, .endorsementP256])
        #expect(both.keys[1] == before.keys[0] && both.keys.allSatisfy { !$0.certificate.isEmpty })
        // Who asks for fewer keys takes none away.
        let fewer = try Self.start(in: temporary, RequestedKeys(ofNew: one, ofExisting: one))
        #expect(try fewer.stop() == .exited(0) && record(in: temporary) == both)
    }

    /// What was recorded once stays, whatever the tenant does later.
    @Test func aLaterObstacleTakesNothingFromTheRecord() throws {
        let temporary = try TemporaryDirectory()
        #expect(try Self.start(in: temporary, Self.all, .keys).stop() == .exited(0))
        let before = try record(in: temporary)
        let tenant = try Self.start(in: temporary, Self.all, .keys)
        try tenant.run("tpm2_changeauth -Q -c e secret")
        #expect(try tenant.stop() == .exited(0))
        #expect(try Self.start(in: temporary).stop() == .exited(0))
        let after = try record(in: temporary)
        #expect(after.level == .none && after.keys.map(\.area) == before.keys.map(\.area))
        #expect(after.time == before.time && after.keys.allSatisfy { $0.obstacle.contains("authorization") })
        let entry = try Self.repository(in: temporary).index.entry(StateDirectoryName.encoded("web"))
        #expect(entry?.endorsementKeys == before.keys.compactMap(\.mark))
    }

    /// A key of the tenant's choice at the handle, with the same template but for its unique field, is no endorsement key.
    @Test func whatTheTenantHasPutAtTheHandleIsNotCertified() throws {
        let temporary = try TemporaryDirectory()
        let tenant = try Self.start(in: temporary, Self.all, .none)
        let own = try tenant.run("tpm2_readpublic -Q -c 0x81010001 -f pem -o own.pem && sha256sum <own.pem")
        try tenant.run(
            """
            set -e
            tpm2_evictcontrol -Q -C o -c 0x81010001
            (printf '\\000\\001' && head -c 256 /dev/zero | tr '\\000' '\\001') >unique
            printf '\\203\\161\\227\\147\\104\\204\\263\\370\\032\\220\\314\\215\\106\\245\\327\\044' >policy
            printf '\\375\\122\\327\\156\\006\\122\\013\\144\\362\\241\\332\\033\\063\\024\\151\\252' >>policy
            tpm2_createprimary -Q -C e -G rsa2048:null:aes128cfb -g sha256 -u unique -L policy -c chosen.ctx \
                -a 'fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt'
            tpm2_evictcontrol -Q -C o -c chosen.ctx 0x81010001 && tpm2_flushcontext -Q -t
            """
        )
        #expect(try tenant.stop() == .exited(0))
        let after = try Self.start(in: temporary)
        #expect(try after.run("tpm2_readpublic -Q -c 0x81010001 -f pem -o at.pem && sha256sum <at.pem") != own)
        let certified = "tpm2_nvread 0x1c00002 2>/dev/null | openssl x509 -inform der -noout -pubkey | sha256sum"
        #expect(try after.run(certified) == own)
        #expect(try after.stop() == .exited(0))
    }

    /// A state that moves to another host keeps its certificate, which the other host's authority neither replaces nor vouches for.
    @Test func aStateOfAnotherHostKeepsItsCertificates() throws {
        let (one, two) = (try TemporaryDirectory(), try TemporaryDirectory())
        let before = try Self.start(in: one)
        let certificates = try certificates(of: before)
        #expect(try before.stop() == .exited(0))
        do {
            let exported = try Self.repository(in: one).exportState("web")
            // A host that has had a state.
            #expect(try Self.start(in: two, stateID: "other").stop() == .exited(0))
            try Self.repository(in: two).importState("web", exported)
        }
        for isFirst in [true, false] {
            let after = try Self.start(in: two)
            #expect(try self.certificates(of: after) == certificates && (after.authority != nil) == isFirst)
            let record = try record(in: two)
            #expect(record.level == .certificates && record.chain.isEmpty)
            #expect(record.keys.allSatisfy { $0.isForeign && $0.certificate.isEmpty && !$0.area.isEmpty })
            #expect(try after.stop() == .exited(0))
        }
    }
}
