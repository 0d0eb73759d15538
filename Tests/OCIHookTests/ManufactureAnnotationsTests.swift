import Configuration
import Platform
import Testing
import VTPMProxy

@testable import OCIHook

/// What a container's annotations choose of its TPM, where the operator lets them.
@Suite struct ManufactureAnnotationsTests {
    private static let keys = "org.container-vtpm.keys"
    private static let certificates = "org.container-vtpm.certificates"

    private func obey(_ annotations: [String: String], allowed: Bool = true) throws -> Configuration.Manufacture {
        var manufacture = Configuration.Manufacture()
        manufacture.obeysAnnotations = allowed
        try manufacture.obey(Annotations(state: annotations, bundle: annotations))
        return manufacture
    }

    private func refusal(_ annotations: [String: String], allowed: Bool = true) -> String? {
        #expect(throws: Failure.self) { _ = try obey(annotations, allowed: allowed) }?.description
    }

    @Test func theyChooseKeysAndCertificates() throws {
        #expect(try obey([:]) == obey([:], allowed: true))
        #expect(try obey([Self.keys: "srk-rsa-2048,ek-p256"]).keys.elements == [.endorsementP256, .storageRSA])
        #expect(try obey([Self.keys: ""]).keys.isEmpty)
        #expect(try obey([Self.certificates: "none"]).endorsement(isEphemeral: false) == .keys)
        #expect(try obey([Self.certificates: "issued"]).endorsement(isEphemeral: true) == .certificates)
    }

    @Test func theyMustBeAllowed() {
        for (key, value) in [(Self.keys, "ek-p256"), (Self.certificates, "none")] {
            #expect(
                refusal([key: value], allowed: false)
                    == "cannot obey the annotation \(key): the configuration does not let annotations choose a TPM's keys "
                    + "(manufacture.annotations = true)"
            )
        }
    }

    @Test func whatIsNotKnownIsRefused() throws {
        let start = "cannot obey the annotation \(Self.keys): "
        let known = "(known: \"ek-rsa-2048\", "
        #expect(refusal([Self.keys: "ek-p256,"])?.hasPrefix(start + "cannot hold \"\" \(known)") == true)
        #expect(
            refusal([Self.keys: "ek-p256, ek-p384"])?.hasPrefix(start + "cannot hold \" ek-p384\" \(known)") == true
        )
        #expect(
            refusal([Self.keys: "ecc-ek,attestation-key"])
                == start + "cannot hold both \"ecc-ek\" and \"attestation-key\", which have one handle"
        )
        #expect(
            refusal([Self.certificates: "all"])
                == "cannot obey the annotation \(Self.certificates): \"all\" is neither \"none\" nor \"issued\""
        )
    }
}
