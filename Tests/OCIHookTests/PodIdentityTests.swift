import Configuration
import Platform
import TestSupport
import Testing

@testable import OCIHook

/// The states of pods' containers, and who gets them.
@Suite struct PodIdentityTests {
    typealias Scope = Configuration.State.Scope

    static let root = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
    static let containerd = [
        "io.kubernetes.cri.sandbox-namespace": "default", "io.kubernetes.cri.sandbox-name": "db-0",
        "io.kubernetes.cri.container-name": "tpm",
    ]
    static let crio = [
        "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.name": "db-0",
        "io.kubernetes.container.name": "tpm",
    ]

    func policy(_ scope: Scope, bundles: String? = nil) -> Configuration.State {
        var policy = Configuration.State()
        (policy.source, policy.scope, policy.bundles) = (.pod, scope, bundles)
        return policy
    }

    /// The bundle that the CRI engine gives a container.
    func bundle(_ scope: Scope, _ containerID: String) -> String {
        "\(scope.standardBundles ?? "")/\(containerID)\(scope == .crio ? "/userdata" : "")"
    }

    func check(
        _ containerID: String,
        at bundle: String,
        cgroupsPath: String? = nil,
        _ policy: Configuration.State
    ) throws(Failure) -> CRIBundle? {
        try CRIBundle.check(of: containerID, at: bundle, cgroupsPath: cgroupsPath, policy) { (_, _) in }
    }

    func decide(
        _ containerID: String,
        _ annotations: [String: String],
        _ scope: Scope,
        proven: Bool = true
    ) throws(Failure) -> StateIdentity {
        try .decide(
            containerID: containerID,
            annotations: Annotations(state: annotations, bundle: annotations),
            allowed: policy(scope),
            bundle: proven ? CRIBundle(path: "/bundle") : nil
        )
    }

    func refusal(_ annotations: [String: String], _ scope: Scope = .containerd, proven: Bool = true) -> String {
        "\(#expect(throws: Failure.self) { try decide("ab", annotations, scope, proven: proven) }?.description ?? "")"
    }

    @Test(arguments: [(Scope.containerd, PodIdentityTests.containerd), (.crio, PodIdentityTests.crio)])
    func theNamesAreTheState(scope: Scope, names: [String: String]) throws {
        let expected = "\(scope.rawValue)/default/pod/db-0/tpm"
        // Made anew on the same node, it has another ID and, in another attempt, other annotations.
        for id in ["ab", RandomIdentityTests.random] {
            #expect(try decide(id, names.merging(["x": id]) { $1 }, scope) == .persistent(stateID: expected))
        }
        for (key, value) in names {
            let other = try decide("ab", names.merging([key: "\(value)x"]) { $1 }, scope)
            #expect(try other.stateID != decide("ab", names, scope).stateID)
        }
        let odd = names.mapValues { "\($0)/%2F" }
        #expect(
            try decide("ab", odd, scope).stateID
                == "\(scope.rawValue)/default%2F%252F/pod/db-0%2F%252F/tpm%2F%252F"
        )
    }

    @Test(arguments: [(Scope.containerd, PodIdentityTests.containerd), (.crio, PodIdentityTests.crio)])
    func eachNameMustBeThere(scope: Scope, names: [String: String]) throws {
        for key in names.keys {
            for wrong in [names.filter { $0.key != key }, names.merging([key: ""]) { $1 }] {
                #expect(
                    refusal(wrong, scope)
                        == "cannot tell whose state \"ab\" is: the annotation \(key) is missing or empty "
                        + "(state.scope must be the engine that made the container)"
                )
            }
        }
        // The other engine's names are anybody's.
        let others = scope == .crio ? Self.containerd : Self.crio
        #expect(refusal(others, scope).contains("is missing or empty"))
        #expect(refusal(names.mapValues { "\($0)\0" }, scope).contains("holds a zero byte"))
        #expect(refusal(names.mapValues { _ in String(repeating: "a", count: 2000) }, scope).contains("bytes long"))
    }

    @Test func withoutEvidenceNamesAreNone() throws {
        let why = "nothing shows that the CRI engine \"containerd\" has made the container"
        #expect(refusal(Self.containerd, proven: false).contains(why))
        for scope in [Scope.none, .nerdctl] { #expect(refusal(Self.containerd, scope).contains("nothing shows")) }
    }

    @Test func annotationsOfOursDoNotNameIt() throws {
        let named = Self.containerd.merging([StateIdentityTests.stateID: "mine"]) { $1 }
        #expect(refusal(named).contains("the configuration does not let annotations name a state"))
        let brief = Self.containerd.merging([StateIdentityTests.state: "ephemeral"]) { $1 }
        #expect(try decide("ab", brief, .containerd) == .ephemeral)
    }

    /// Its ID is random, and its state is not of that ID.
    @Test func randomIDsDoNotCount() throws {
        for kept in [Configuration.State.RandomIDs.ephemeral, .kept(60)] {
            var allowed = policy(.containerd)
            allowed.randomIDs = kept
            let retention = StateIdentity.retention(
                containerID: RandomIdentityTests.random,
                annotations: try Annotations(state: Self.containerd, bundle: Self.containerd),
                allowed: allowed
            )
            #expect(retention == .persistent)
        }
    }

    @Test func onlyThisPolicyAsksForEvidence() throws {
        var other = policy(.containerd)
        for source in [Configuration.State.Source.container, .annotation] {
            other.source = source
            #expect(try check("ab", at: "/anywhere", other) == nil)
        }
    }

    @Test func theBundleIsTheEnginesOwn() throws {
        #expect(try check("ab", at: "\(Self.root)/ab", policy(.containerd)) != nil)
        let k3s = "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io"
        #expect(try check("ab", at: "\(k3s)/ab", policy(.containerd, bundles: k3s)) != nil)
        let places = [
            // ctr's, docker's, podman's, a bundle of a person's.
            "/run/containerd/io.containerd.runtime.v2.task/default/ab",
            "/run/containerd/io.containerd.runtime.v2.task/moby/ab",
            "/var/lib/containers/storage/overlay-containers/ab/userdata", "/srv/ab", "/",
            // Another container's, and other writings of a path.
            "\(Self.root)/abc", "\(Self.root)/ab/", "\(Self.root)//ab", "\(Self.root)/./ab", "\(Self.root)/x/../ab",
            "\(Self.root)/ab/rootfs", Self.root, "/var\(Self.root)/ab", "\(Self.root)/ab\u{301}", "\(k3s)/ab",
        ]
        for place in places {
            let error = #expect(throws: Failure.self) { try check("ab", at: place, policy(.containerd)) }
            let line = error?.description ?? ""
            #expect(
                line.hasPrefix("cannot tell whose state \"ab\" is: its bundle ")
                    && line.contains("is not where containerd keeps that of a pod's container, \(Self.root)/ab ("),
                "\(line)"
            )
        }
        for id in ["", ".", "..", "a/b", "../default/ab"] {
            #expect(throws: Failure.self) { try check(id, at: "\(Self.root)/\(id)", policy(.containerd)) }
        }
    }

    /// podman can use CRI-O's storage, and forge each of its annotations.
    @Test(arguments: [
        ("kubepods-besteffort-pod1.slice:crio:ab", true), ("/kubepods/pod1/crio-ab", true), (":crio:ab", true),
        ("machine.slice:libpod:ab", false), ("/crio-ab/libpod-ab", false), ("", false),
        ("x.slice:crio:abc", false), ("x.slice:crio:", false), ("/xcrio-ab", false), ("crio-ab", false),
    ])
    func aCgroupTellsCRIOFromPodman(cgroupsPath: String, isCRIO: Bool) throws {
        let place = bundle(.crio, "ab")
        guard !isCRIO else {
            #expect(try check("ab", at: place, cgroupsPath: cgroupsPath, policy(.crio)) != nil)
            return
        }
        let error = #expect(throws: Failure.self) {
            try check("ab", at: place, cgroupsPath: cgroupsPath, policy(.crio))
        }
        #expect(error?.why == "its cgroupsPath \"\(cgroupsPath)\" is not one of CRI-O's")
    }

    @Test func aScopeWithoutPodsHasNone() throws {
        for scope in [Scope.none, .nerdctl] {
            let error = #expect(throws: Failure.self) { try check("ab", at: "/ab", policy(scope, bundles: "/")) }
            #expect(error?.why == "the scope \"\(scope.rawValue)\" has no pods")
        }
    }

    @Test func theDirectoryIsLookedAt() throws {
        var asked: [String] = []
        func require(_ path: String, _ what: String) throws(Failure) {
            asked.append(path)
            throw Failure(what, because: "it is not there")
        }
        let error = #expect(throws: Failure.self) {
            try CRIBundle.check(
                of: "ab",
                at: "\(Self.root)/ab",
                cgroupsPath: nil,
                policy(.containerd),
                requireDirectory: require
            )
        }
        #expect(error?.description == "cannot tell whose state \"ab\" is: it is not there")
        #expect(asked == ["\(Self.root)/ab"])
    }

    /// No names of any pods, and none of the other forms, come to the same state ID.
    @Test func noTwoComeToTheSame() throws {
        var generator = SeededGenerator(seed: 15)
        let alphabet = ["/", "%", "2F", "pod", "id", "a", "b", "é", "e\u{301}", ".", "containerd", "cri-o"]
        func text() -> String {
            (0..<Int.random(in: 1...3, using: &generator)).map { _ in alphabet.randomElement(using: &generator) ?? "a" }
                .joined()
        }
        var annotated = Configuration.State()
        annotated.source = .annotation
        var seen: [[UInt8]: [[UInt8]]] = [:]
        for _ in 0..<20_000 {
            let scope = Bool.random(using: &generator) ? Scope.containerd : .crio
            let keys = try #require(scope.podAnnotations)
            var names = [keys.namespace: text(), keys.pod: text(), keys.container: text()]
            let origin: [String]
            let identity: StateIdentity
            if Bool.random(using: &generator) {
                origin = ["pod", scope.rawValue, keys.namespace, keys.pod, keys.container].map { names[$0] ?? $0 }
                identity = try decide("c", names, scope)
            } else {
                annotated.scope = scope
                let id = text()
                let isNamed = Bool.random(using: &generator)
                if isNamed { names[StateIdentityTests.stateID] = id }
                origin = [isNamed ? "name" : "id", scope.rawValue, names[keys.namespace] ?? "", id]
                identity = try StateIdentity.decide(
                    containerID: id,
                    annotations: Annotations(state: names, bundle: names),
                    allowed: annotated
                )
            }
            let stateID = Array(try #require(identity.stateID).utf8)
            let parts = origin.map { Array($0.utf8) }
            if let other = seen[stateID] { #expect(other == parts, "\(origin)") }
            seen[stateID] = parts
        }
        #expect(seen.count > 1000)
    }
}
