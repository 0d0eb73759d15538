import Configuration
import Platform
import RuntimeControl
import Testing
import VTPMProxy

/// Which containers get a TPM, and which keys the TPM has.
@Suite struct ChoiceTests {
    @Test func theKeysOfATPMAreChosen() throws {
        #expect(try parse("").manufacture.requestedKeys == RequestedKeys(ofNew: .all, ofExisting: .all))
        #expect(try parse("[manufacture]\nkeys = []").manufacture.requestedKeys == .none)
        #expect(
            try refusal("[manufacture]\nkeys = [\"ek-p256\", \"ek\"]")
                == "line 2: \"keys\" cannot hold \"ek\" (known: \"ek-rsa-2048\", \"ek-p256\", \"srk-rsa-2048\")"
        )
        #expect(
            try refusal("[manufacture]\nkeys = \"ek-p256\"")
                == "line 2: \"keys\" must be an array of strings, not a string"
        )
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
