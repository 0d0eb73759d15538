import Platform
import Proof
import Testing

/// What a verifier asks for.
struct ProofPolicyTests {
    private static func refusal(_ text: String) -> String {
        let failure = #expect(throws: Failure.self) { try ProofPolicy(parsing: Array(text.utf8), "it") }
        return failure?.description ?? ""
    }

    @Test func allMembersAreRead() throws {
        let text = """
            {"version": 1, "hosts": [{"name": "edge", "attestationKey": "000b01", "pcrs": {"7": ["aa", "bb"]}}],
             "launches": ["01"], "images": ["sha256:02"], "root": "measured", "roots": ["sha256:05"], "states": ["web"], "quotingKeys": ["03"],
             "software": {"vtpm-worker": ["04"]}, "leastGeneration": 5, "leastCounter": "18446744073709551615"}
            """
        let policy = try ProofPolicy(parsing: Array(text.utf8), "it")
        #expect(policy.hosts.map(\.name) == ["edge"] && policy.hosts[0].attestationKey == [0, 11, 1])
        #expect(policy.hosts[0].pcrs == [7: [[0xaa], [0xbb]]] && policy.launches == [[1]])
        #expect(
            policy.images == ["sha256:02"] && policy.needsMeasuredRoot && policy.roots == ["sha256:05"]
                && policy.states == ["web"]
        )
        #expect(policy.quotingKeys == [[3]] && policy.software == ["vtpm-worker": [[4]]])
        #expect(policy.leastGeneration == 5 && policy.leastCounter == .max)
    }

    /// A demand that is not understood must not be passed over.
    @Test(arguments: [
        (#"{"version": 2, "hosts": []}"#, "its version is not 1"), (#"{"version": 1}"#, "it names no hosts"),
        (#"{"version": 1, "hosts": []}"#, "it names no hosts"),
        (#"{"version": 1, "hosts": [], "image": []}"#, #"the policy has the member "image", which nobody knows"#),
        (#"{"version": 1, "hosts": [{"name": "a"}]}"#, "a host has no name or no attestationKey"),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "0a"}, {"name": "b", "attestationKey": "0A"}]}"#,
            "it names two hosts with one attestationKey"
        ),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "00", "key": 1}]}"#,
            #"a host has the member "key", which nobody knows"#
        ),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "00", "pcrs": {"07": []}}]}"#,
            "pcrs of the host a has what is no PCR's number"
        ),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "00"}]}"#,
            "it names neither launches nor images, roots, states or quotingKeys: every container would do"
        ),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "00"}], "launches": ["x"]}"#,
            "launches has an element of another kind"
        ),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "00"}], "launches": "00"}"#,
            "launches is no array"
        ),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "00"}], "launches": [], "root": true}"#,
            #"root is not "measured""#
        ),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "00"}], "launches": [], "leastCounter": -1}"#,
            "leastCounter is no number from 0 on"
        ),
        (
            #"{"version": 1, "hosts": [{"name": "a", "attestationKey": "00"}], "launches": [], "software": []}"#,
            "software is no object"
        ),
    ])
    func whatIsNotUnderstoodIsRefused(text: String, why: String) {
        #expect(Self.refusal(text) == "cannot use the policy it: \(why)")
    }
}
