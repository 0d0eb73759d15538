import Configuration
import Testing

@testable import OCIHook

/// Containers whose ID an engine has made for one run, and what the operator decided of them.
@Suite struct RandomIdentityTests {
    static let random = String(repeating: "0a", count: 32)

    func retention(
        _ containerID: String,
        _ annotations: [String: String] = [:],
        _ policy: Configuration.State.RandomIDs = .kept(60)
    ) throws -> Configuration.State.RandomIDs {
        var allowed = Configuration.State()
        allowed.randomIDs = policy
        return StateIdentity.retention(
            containerID: containerID,
            annotations: try Annotations(state: annotations, bundle: annotations),
            allowed: allowed
        )
    }

    @Test func onlyAnIDThatWasMadeAtRandomCounts() throws {
        #expect(try retention(Self.random) == .kept(60))
        #expect(try retention(Self.random, [:], .ephemeral) == .ephemeral)
        for id in [
            "web", String(Self.random.dropLast()), Self.random + "0", Self.random.uppercased(),
            "g" + Self.random.dropFirst(),
        ] { #expect(try retention(id) == .persistent, "\(id)") }
    }

    @Test func whoSaysHowItsStateIsKeptMeansIt() throws {
        #expect(try retention(Self.random, ["org.container-vtpm.state": "persistent"], .ephemeral) == .persistent)
        #expect(try retention(Self.random, ["org.container-vtpm.state-id": "mail"], .ephemeral) == .persistent)
    }
}
