import Configuration
import Platform
import RuntimeState
import TestSupport
import Testing

@testable import OCIHook

@Suite struct StateIdentityTests {
    static let state = "org.container-vtpm.state"
    static let stateID = "org.container-vtpm.state-id"

    /// What names a state, with this scope; nothing where annotations must not.
    func allowed(_ scope: Configuration.State.Scope?, ephemeral: Bool = true) -> Configuration.State {
        var allowed = Configuration.State()
        if let scope {
            allowed.source = .annotation
            allowed.scope = scope
        }
        allowed.allowsEphemeral = ephemeral
        return allowed
    }

    func decide(
        _ containerID: String,
        _ annotations: [String: String] = [:],
        _ allowed: Configuration.State = Configuration.State()
    ) throws(Failure) -> StateIdentity {
        try .decide(
            containerID: containerID,
            annotations: Annotations(state: annotations, bundle: annotations),
            allowed: allowed
        )
    }

    /// The bytes of the state ID: Swift takes texts for equal that are written in different bytes.
    func bytes(
        _ containerID: String,
        _ annotations: [String: String] = [:],
        _ allowed: Configuration.State = Configuration.State()
    ) throws -> [UInt8] {
        guard case .persistent(let stateID, _) = try decide(containerID, annotations, allowed) else {
            throw Failure("cannot test", because: "it is ephemeral")
        }
        return Array(stateID.utf8)
    }

    func refusal(
        _ annotations: [String: String],
        _ allowed: Configuration.State = Configuration.State(),
        containerID: String = "web"
    ) throws -> String {
        let error = #expect(throws: Failure.self) { try decide(containerID, annotations, allowed) }
        let line = try #require(error).description
        #expect(!line.contains("\n"))
        return line
    }

    @Test func aContainersStateIsItsOwn() throws {
        #expect(try decide("web") == .persistent(stateID: "web"))
        #expect(try decide("web", [Self.state: "persistent"]) == .persistent(stateID: "web"))
        #expect(try decide("web", [:], allowed(Configuration.State.Scope.none)) == .persistent(stateID: "web"))
        // Where annotations name no state, its scope has no meaning.
        var byID = allowed(.containerd)
        byID.source = .container
        #expect(try decide("web", [:], byID) == .persistent(stateID: "web"))
        #expect(try decide("a/b%2F") == .persistent(stateID: "a%2Fb%252F"))
    }

    @Test func anEphemeralOneIsGiven() throws {
        #expect(try decide("web", [Self.state: "ephemeral"]) == .ephemeral)
        #expect(try decide("web", [Self.state: "ephemeral"], allowed(.crio)) == .ephemeral)
    }

    @Test func anEphemeralOneMustBeAllowed() throws {
        #expect(
            try refusal([Self.state: "ephemeral"], allowed(nil, ephemeral: false))
                == "cannot obey the annotation org.container-vtpm.state: the configuration does not allow \"ephemeral\" "
                + "(state.ephemeral = true)"
        )
    }

    @Test func anEphemeralOneHasNoName() throws {
        let line = try refusal([Self.state: "ephemeral", Self.stateID: "a"], allowed(Configuration.State.Scope.none))
        #expect(line.contains("\"ephemeral\", which has no state"), "\(line)")
    }

    @Test(arguments: ["", "Ephemeral", "ephemeral ", "no\nne", "ephemeral\u{301}"])
    func otherKindsAreRefused(value: String) throws {
        let line = try refusal([Self.state: value])
        #expect(line.hasSuffix("is neither \"persistent\" nor \"ephemeral\""), "\(line)")
    }

    @Test func namesAreRefusedUnlessTheyAreAllowed() throws {
        #expect(
            try refusal([Self.stateID: "web"])
                == "cannot obey the annotation org.container-vtpm.state-id: the configuration does not let annotations "
                + "name a state (state.id = \"annotation\")"
        )
    }

    @Test(arguments: [
        (Configuration.State.Scope.containerd, "io.kubernetes.cri.sandbox-namespace"),
        (.crio, "io.kubernetes.pod.namespace"), (.nerdctl, "nerdctl/namespace"),
    ])
    func namesAreScopedByTheEnginesNamespace(scope: Configuration.State.Scope, annotation: String) throws {
        let named = try decide("1a2b", [Self.stateID: "db", annotation: "prod"], allowed(scope))
        #expect(named == .persistent(stateID: "\(scope.rawValue)/prod/db"))
        let odd = try decide("1a2b", [Self.stateID: "../db", annotation: "%2F/"], allowed(scope))
        #expect(odd == .persistent(stateID: "\(scope.rawValue)/%252F%2F/..%2Fdb"))
        // Another engine's annotation is no replacement: its users may be able to set it.
        for others in [[:], [annotation: ""], ["io.kubernetes.cri.sandbox-name": "prod"]] as [[String: String]] {
            let line = try refusal(others.merging([Self.stateID: "db"]) { first, _ in first }, allowed(scope))
            #expect(line.contains("the annotation \(annotation), which scopes it, is missing or empty"), "\(line)")
        }
    }

    /// An engine takes an ID once in each namespace: without the namespace, two containers would have one TPM.
    @Test(arguments: [
        (Configuration.State.Scope.containerd, "io.kubernetes.cri.sandbox-namespace"),
        (.crio, "io.kubernetes.pod.namespace"), (.nerdctl, "nerdctl/namespace"),
    ])
    func idsAreScopedByTheEnginesNamespace(scope: Configuration.State.Scope, annotation: String) throws {
        func state(_ namespace: String, _ id: String) throws -> StateIdentity {
            try decide(id, [annotation: namespace], allowed(scope))
        }
        #expect(try state("blue", "db") == .persistent(stateID: "\(scope.rawValue)/blue/id/db", formerly: "db"))
        #expect(try state("green", "db").stateID != state("blue", "db").stateID)
        let odd = "\(scope.rawValue)/%2F/id/a%2Fb"
        #expect(try state("/", "a/b") == .persistent(stateID: odd, formerly: "a%2Fb"))
        // No name comes to it.
        let named = try decide("x", [Self.stateID: "id/db", annotation: "blue"], allowed(scope))
        #expect(try named.stateID != state("blue", "db").stateID)
        for others in [[:], [annotation: ""]] as [[String: String]] {
            #expect(
                try refusal(others, allowed(scope))
                    == "cannot tell whose state \"web\" is: the annotation \(annotation), "
                    + "which scopes it, is missing or empty (state.scope must be the engine that made the container)"
            )
        }
        let brief = try decide("db", [Self.state: "ephemeral"], allowed(scope))
        #expect(brief == .ephemeral)
    }

    /// On purpose: with the scope "none" an operator reaches a container's state from another one.
    @Test func withoutAScopeANameIsLikeAContainersID() throws {
        for name in ["web", "a/b", "containerd/prod/db", "%2F"] {
            let named = try decide("1a2b", [Self.stateID: name], allowed(Configuration.State.Scope.none))
            #expect(try named == decide(name))
        }
    }

    @Test func whatIsNoNameIsRefused() throws {
        for scope in [Configuration.State.Scope.none, .nerdctl] {
            let namespace = ["nerdctl/namespace": "n"]
            #expect(
                try refusal(namespace.merging([Self.stateID: ""]) { $1 }, allowed(scope))
                    == "cannot use \"\" as a state ID: the annotation org.container-vtpm.state-id is empty"
            )
            #expect(try refusal(namespace.merging([Self.stateID: "a\0b"]) { $1 }, allowed(scope)).contains("zero byte"))
        }
        let line = try refusal([Self.stateID: "a", "nerdctl/namespace": "\0"], allowed(.nerdctl))
        #expect(line.contains("zero byte"))
    }

    @Test func theLongestNameFillsTheLimit() throws {
        let none = allowed(Configuration.State.Scope.none)
        #expect(try bytes("c", [Self.stateID: String(repeating: "a", count: 4096)], none).count == 4096)
        #expect(try refusal([Self.stateID: String(repeating: "a", count: 4097)], none).contains("4097 bytes long"))
        #expect(try refusal([Self.stateID: String(repeating: "/", count: 1366)], none).contains("4098 bytes long"))
        // "nerdctl/n/" comes before it.
        let annotations = [Self.stateID: String(repeating: "a", count: 4087), "nerdctl/namespace": "n"]
        let line = try refusal(annotations, allowed(.nerdctl))
        #expect(line.contains("4097 bytes long, more than 4096"))
        #expect(line.utf8.count < 250)
        #expect(
            try refusal([:], containerID: String(repeating: "%", count: 1366)).contains("the container's ID makes it")
        )
    }

    /// No two containers, and no two names of any scopes and namespaces, come to the same state ID.
    @Test func noTwoComeToTheSame() throws {
        var generator = SeededGenerator(seed: 4)
        let scopes: [Configuration.State.Scope] = [.containerd, .crio, .nerdctl]
        var seen: [[UInt8]: [[UInt8]]] = [:]
        for _ in 0..<30_000 {
            let name = randomText(&generator)
            let (origin, stateID): ([String], [UInt8])
            if Bool.random(using: &generator) {
                (origin, stateID) = ([name], try bytes(name))
            } else {
                let scope = try #require(scopes.randomElement(using: &generator))
                let namespace = randomText(&generator)
                var annotations = [try #require(scope.annotation): namespace]
                if Bool.random(using: &generator) {
                    annotations[Self.stateID] = name
                    (origin, stateID) = (
                        [scope.rawValue, namespace, name], try bytes("c", annotations, allowed(scope))
                    )
                } else {
                    (origin, stateID) = (
                        [scope.rawValue, namespace, "id", name], try bytes(name, annotations, allowed(scope))
                    )
                }
            }
            let parts = origin.map { Array($0.utf8) }
            if let other = seen[stateID] { #expect(other == parts, "\(origin)") }
            seen[stateID] = parts
            // And it can be undone, which no table of seen ones could show for all.
            #expect(
                String(decoding: stateID, as: UTF8.self).utf8.split(separator: UInt8(ascii: "/")).map(unescaped)
                    == parts
            )
        }
    }

    /// Texts that are hard to tell apart: the characters that separate and escape, and equivalent forms.
    private func randomText(_ generator: inout SeededGenerator) -> String {
        let alphabet = [
            "/", "%", "2", "5", "F", "25", "2F", "containerd", "cri-o", "a", "é", "e\u{301}", "\u{301}", "\u{212A}",
            "K", "🂡",
            "\n", ".", "..",
        ]
        return (0..<Int.random(in: 1...4, using: &generator)).map { _ in
            Int.random(in: 0..<10, using: &generator) > 0
                ? alphabet.randomElement(using: &generator) ?? "a"
                : Unicode.Scalar(UInt32.random(in: 1...0x10ffff, using: &generator)).map { String($0) } ?? "\u{fffd}"
        }.joined()
    }

    private func unescaped(_ part: Substring.UTF8View) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = part
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            bytes.append(
                UInt8(String(decoding: [rest.popFirst() ?? 0, rest.popFirst() ?? 0], as: UTF8.self), radix: 16) ?? 0
            )
        }
        return bytes
    }
}
