import Configuration
import Platform
import RuntimeControl
import Testing
import VTPMProxy

/// Which containers get a TPM, and which keys the TPM has.
@Suite struct ChoiceTests {
    @Test func theKeysOfATPMAreChosen() throws {
        #expect(try parse("").manufacture.requestedKeys == RequestedKeys(ofNew: .standard, ofExisting: .standard))
        #expect(try parse("[manufacture]\nkeys = []").manufacture.requestedKeys == .none)
        #expect(
            try refusal("[manufacture]\nkeys = [\"ek-p256\", \"ek\"]")
                == "line 2: \"keys\" cannot hold \"ek\" (known: \"ek-rsa-2048\", \"ek-p256\", \"srk-rsa-2048\", "
                + "\"ek-rsa-3072\", \"ek-p384\", \"iak-p384\", \"idevid-p384\", \"ecc-ek\", \"attestation-key\")"
        )
        #expect(
            try refusal("[manufacture]\nkeys = [\"ecc-ek\", \"attestation-key\"]")
                == "line 2: \"keys\" cannot hold both \"ecc-ek\" and \"attestation-key\", which have one handle"
        )
        #expect(
            try refusal("[manufacture]\nkeys = [\"srk-rsa-2048\", \"iak-p384\"]")
                == "line 2: \"keys\" cannot hold \"iak-p384\" without an endorsement key, which vouches for it"
        )
        let seven =
            "\"ek-rsa-2048\", \"ek-p256\", \"srk-rsa-2048\", \"ek-rsa-3072\", \"ek-p384\", \"iak-p384\", \"ecc-ek\""
        #expect(try parse("[manufacture]\nkeys = [\(seven)]").manufacture.keys.elements.count == 7)
        #expect(
            try refusal("[manufacture]\nkeys = [\(seven), \"idevid-p384\"]")
                == "line 2: \"keys\" holds more keys than the 7 that a TPM has room for"
        )
        #expect(
            try refusal("[manufacture]\nkeys = \"ek-p256\"")
                == "line 2: \"keys\" must be an array of strings, not a string"
        )
    }

    @Test func theBanksOfPCRsAreChosen() throws {
        #expect(try parse("").manufacture.banks == .all)
        #expect(
            try parse("[manufacture]\npcr-banks = [\"sha384\", \"sha256\"]").manufacture.banks == [.sha256, .sha384]
        )
        #expect(
            try refusal("[manufacture]\npcr-banks = [\"sm3\"]")
                == "line 2: \"pcr-banks\" cannot hold \"sm3\" (known: \"sha1\", \"sha256\", \"sha384\", \"sha512\")"
        )
        #expect(
            try refusal("[manufacture]\npcr-banks = []") == "line 2: \"pcr-banks\" must hold at least one bank"
        )
    }

    @Test func thePlatformIsNamedWhole() throws {
        let named = "platform-manufacturer = \"Example\"\nplatform-model = \"Edge\"\n"
        #expect(
            try parse("[manufacture]\n\(named)platform-version = \"2\"").manufacture.platform
                == PlatformName(manufacturer: "Example", model: "Edge", version: "2")
        )
        #expect(
            try refusal("[manufacture]\n\(named)")
                == "line 1: [manufacture] needs all of \"platform-manufacturer\", \"platform-model\", \"platform-version\", or none"
        )
        let long = String(repeating: "x", count: 65)
        #expect(
            try refusal("[manufacture]\n\(named)platform-version = \"\(long)\"")
                == "line 4: \"platform-version\" must have 1 to 64 bytes"
        )
    }

    @Test func theTPMsThatGetCertificatesAreChosen() throws {
        func levels(_ text: String) throws -> [EndorsementLevel] {
            let manufacture = try parse(text).manufacture
            return [false, true].map { manufacture.endorsement(isEphemeral: $0) }
        }
        #expect(try levels("") == [.certificates, .none])
        #expect(try levels("[manufacture]\ncertificates = \"all\"") == [.certificates, .certificates])
        #expect(try levels("[manufacture]\ncertificates = \"none\"") == [.keys, .none])
        #expect(try levels("[manufacture]\nkeys = [\"srk-rsa-2048\"]\ncertificates = \"all\"") == [.none, .none])
        #expect(
            try refusal("[manufacture]\ncertificates = \"some\"")
                == "line 2: \"certificates\" cannot be \"some\" (known: \"none\", \"persistent\", \"all\")"
        )
    }

    @Test func theAuthorityIsChosen() throws {
        #expect(try parse("").authority.files == nil && parse("[authority]").authority.files == nil)
        #expect(
            try parse("[authority]\nkey = \"/k\"\ncertificates = \"/c\"").authority.files
                == .init(key: "/k", certificates: "/c")
        )
        #expect(try refusal("[authority]\nkey = \"/k\"") == "line 1: [authority] needs \"certificates\" beside \"key\"")
        #expect(
            try refusal("[authority]\ncertificates = \"/c\"")
                == "line 1: [authority] needs \"key\" beside \"certificates\""
        )
        #expect(try parse("[authority]\ncrl-url = \"http://h/ca.crl\"").authority.listURL == "http://h/ca.crl")
        #expect(
            try parse("[authority]\ncommand = [\"/s\", \"x\"]\ncertificates = \"/c\"").authority.files
                == .init(key: .command(["/s", "x"], timeout: 10), certificates: "/c")
        )
        #expect(
            try refusal("[authority]\ncommand = [\"/s\"]")
                == "line 1: [authority] needs \"certificates\" beside \"command\""
        )
        #expect(
            try refusal("[authority]\nkey = \"/k\"\ncommand = [\"/s\"]\ncertificates = \"/c\"")
                == "line 3: \"command\" is not used beside \"key\""
        )
        #expect(
            try refusal("[authority]\nkey = \"/k\"\ntimeout = 5\ncertificates = \"/c\"")
                == "line 3: \"timeout\" is not used without \"command\""
        )
        for url in ["ftp://h/ca.crl", "http://h/a b", "http://h/\(String(repeating: "x", count: 512))"] {
            #expect(
                try refusal("[authority]\ncrl-url = \"\(url)\"")
                    .hasPrefix("line 2: \"crl-url\" must be a URL of HTTP with at most 512 bytes, not ")
            )
        }
        #expect(try refusal("[authority]\nkey = \"k\"\ncertificates = \"/c\"").hasPrefix("line 2: \"key\" must be "))
    }

    @Test func theContainersThatGetATPMAreChosen() throws {
        #expect(try parse("[container]\ntpm = \"annotated\"").container.selection == .annotated)
        #expect(
            try refusal("[container]\ntpm = \"annotated\"\nopt-out = true")
                == "line 3: \"opt-out\" is not used with tpm = \"annotated\""
        )
        #expect(
            try refusal("[container]\ntpm = \"none\"")
                == "line 2: \"tpm\" cannot be \"none\" (known: \"all\", \"annotated\")"
        )
    }
}
