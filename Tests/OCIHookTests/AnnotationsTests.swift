import Configuration
import Platform
import RuntimeState
import Testing

@testable import OCIHook

@Suite struct AnnotationsTests {
    @Test func stateAndBundleAreTakenTogether() throws {
        let both = ["a": "1", StateIdentityTests.state: "ephemeral", StateIdentityTests.stateID: "x"]
        let annotations = try Annotations(state: both, bundle: both)
        #expect(annotations["a"] == "1")
        #expect(annotations[.state] == "ephemeral")
        #expect(annotations[.stateID] == "x")
        #expect(try Annotations(state: [:], bundle: nil)[.state] == nil)
        #expect(try Annotations(state: nil, bundle: nil)[.state] == nil)
    }

    @Test(arguments: [("1", "2"), ("", "1"), ("é", "e\u{301}")])
    func theyMustNotDisagree(one: String, other: String) throws {
        for (state, bundle) in [(one, other), (other, one)] {
            let error = #expect(throws: Failure.self) {
                try Annotations(state: ["a\n": state], bundle: ["a\n": bundle])
            }
            #expect(
                error?.description
                    == "cannot obey the annotation a?: the runtime and config.json give it different values "
                    + "(\(BundleOrigin.hint))"
            )
        }
    }

    /// Runtimes hand on all that config.json has: where one side has more, they are not of the same container.
    @Test(arguments: [StateIdentityTests.state, StateIdentityTests.stateID, "io.example", "nerdctl/namespace"])
    func oneMustNotHaveWhatTheOtherHasNot(key: String) throws {
        let common = ["a": "1"]
        for rest in [common, [:]] {
            let more = rest.merging([key: "ephemeral"]) { $1 }
            var error = #expect(throws: Failure.self) {
                try Annotations(state: rest.isEmpty ? nil : rest, bundle: more)
            }
            let unknownToRuntime = "config.json has it and the runtime does not"
            #expect(
                error?.description == "cannot obey the annotation \(key): \(unknownToRuntime) (\(BundleOrigin.hint))"
            )
            error = #expect(throws: Failure.self) { try Annotations(state: more, bundle: rest.isEmpty ? nil : rest) }
            #expect(error?.why == "the runtime has it and config.json does not")
        }
    }

    /// runc keeps annotations as `key=value` beside the bundle's path, and takes them apart at the first `=`.
    @Test func whatRuncMakesOfAnnotationsIsNoContradiction() throws {
        let bundle = ["a=b": "c", "bundle": "/x", "x": "y", StateIdentityTests.state: "ephemeral"]
        let runc = ["a": "b=c", "x": "y", StateIdentityTests.state: "ephemeral"]
        #expect(try Annotations(state: runc, bundle: bundle)["a=b"] == "c")
        #expect(try Annotations(state: bundle, bundle: bundle)[.state] == "ephemeral")
        #expect(throws: Failure.self) { try Annotations(state: ["a": "b=c"], bundle: bundle) }
        #expect(throws: Failure.self) { try Annotations(state: runc, bundle: ["x": "y"]) }
    }

    @Test(arguments: [
        "org.container-vtpm.colour", "org.container-vtpm.", "org.container-vtpm.State", "org.container-vtpm.state-id ",
        "org.container-vtpm.\u{301}", "org.container-vtpm.state\u{301}",
    ])
    func unknownOnesOfOursAreRefused(key: String) throws {
        let error = #expect(throws: Failure.self) { try Annotations(state: [key: "x"], bundle: [key: "x"]) }
        let line = try #require(error).description
        #expect(line.utf8.starts(with: "cannot obey the annotation org.container-vtpm.".utf8), "\(line)")
        let known = ["enable", "state", "state-id", "keys", "certificates"].map { "org.container-vtpm.\($0)" }.joined(
            separator: ", "
        )
        #expect(line.hasSuffix("(known: \(known))"), "\(line)")
    }

    @Test(arguments: ["org.container-vtpm", "org.container-vtpmx.state", "x.org.container-vtpm.state", ""])
    func thoseOfOthersAreNone(key: String) throws {
        #expect(try Annotations(state: [key: "x"], bundle: [key: "x"])[key] == "x")
    }
}
