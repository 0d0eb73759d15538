import Platform
import Proof
import Testing
import VTPMProxy

/// What the host says of a run.
struct RunManifestTests {
    static let manifest = RunManifest(
        container: "web",
        bundle: "/run/bundles/web",
        state: "web",
        instance: "00112233-4455-6677-8899-aabbccddeeff",
        generation: 1 << 60,
        resets: TPMResets(resetCount: 4_000_000_000, restartCount: 1),
        endorsementKeys: ["rsa-2048": [0, 11, 1], "ecc-nist-p256": [0, 11, 2]],
        quotingKey: [0, 11, 3],
        launch: RunManifest.Launch(digest: [1], instanceDigest: [2], pcr17: [3], pcr18: [4]),
        counter: RunManifest.Counter(index: 0x0180_0001, name: [0, 11, 5], value: .max),
        software: RunManifest.Software(version: "0.1.0", libtpms: "0.9.2", digests: ["vtpm-worker": [0xab]]),
        time: "2026-11-28T16:17:14Z"
    )

    /// To the byte, as docs/proof.md has it.
    @Test func itIsCanonical() {
        #expect(
            String(decoding: Self.manifest.encoded, as: UTF8.self)
                == #"{"bundle":"/run/bundles/web","container":"web","counter":{"index":"0x01800001","name":"000b05","#
                + #""value":"18446744073709551615"},"endorsementKeys":{"ecc-nist-p256":"000b02","rsa-2048":"000b01"},"#
                + #""generation":"1152921504606846976","instance":"00112233-4455-6677-8899-aabbccddeeff","#
                + #""launch":{"digest":"01","instanceDigest":"02","pcr17":"03","pcr18":"04"},"quotingKey":"000b03","#
                + #""resetCount":4000000000,"restartCount":1,"#
                + #""software":{"digests":{"vtpm-worker":"ab"},"libtpms":"0.9.2","version":"0.1.0"},"state":"web","#
                + #""time":"2026-11-28T16:17:14Z","type":"container-vtpm manifest","version":1}"#
        )
    }

    @Test func itComesBackAsItWas() throws {
        var other = Self.manifest
        other.counter = nil
        other.endorsementKeys = [:]
        other.quotingKey = []
        other.container = "a \"quoted\"\n\u{1}name"
        for manifest in [Self.manifest, other] {
            #expect(try RunManifest(reading: manifest.encoded, "it") == manifest)
        }
    }

    /// Two texts that mean the same would have two digests, of which the host vouches for one.
    @Test(
        arguments: [
            ("\"version\":1}", "\"version\":2}"), ("container-vtpm manifest", "container-vtpm launch"),
            ("\"restartCount\":1", "\"restartCount\": 1"), ("\"restartCount\":1", "\"restartCount\":-1"),
            ("\"counter\":{", "\"counters\":{"), ("000b03", "000B03"), ("000b03", "000b0"),
            ("\"state\":\"web\"", "\"more\":1,\"state\":\"web\""), ("0x01800001", "0x1800001"),
            ("\"1152921504606846976\"", "\"01152921504606846976\""),
        ]
    )
    func anyOtherTextIsRefused(_ part: String, _ changed: String) throws {
        let text = String(decoding: Self.manifest.encoded, as: UTF8.self)
        let other = text.replacing(part, with: changed)
        #expect(other != text)
        let failure = #expect(throws: Failure.self) { try RunManifest(reading: Array(other.utf8), "it") }
        #expect(
            failure?.description == "cannot read it: it is no manifest of this version of the project",
            "\(failure?.description ?? "")"
        )
    }
}
