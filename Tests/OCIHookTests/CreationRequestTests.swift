import Configuration
import Platform
import Testing

@testable import OCIHook

/// What a container gets, before anything is made for it.
@Suite struct CreationRequestTests {
    static let random = RandomIdentityTests.random

    func request(
        _ containerID: String,
        _ policy: Configuration.State.RandomIDs = .persistent,
        hasState: Bool = false,
        mount: String = #"{"destination": "/dev", "type": "tmpfs"}"#
    ) throws -> CreationRequest {
        let state = #"{"id": "\#(containerID)", "bundle": "/bundle"}"#
        let config = #"{"root": {"path": "rootfs"}, "mounts": [\#(mount)]}"#
        var configuration = Configuration()
        configuration.state.randomIDs = policy
        return try CreationRequest(
            of: ContainerState(parsing: Array(state.utf8)),
            BundleConfig(parsing: Array(config.utf8), path: "config.json"),
            configuration
        ) { _ in hasState }
    }

    @Test func `a container has the state of its ID`() throws {
        let request = try request("web")
        #expect(request.stateIdentity == .persistent(stateID: "web"))
        #expect(request.keptFor == nil)
        #expect(request.rootPath == "/bundle/rootfs")
    }

    @Test(arguments: [(false, nil), (true, CreationRequestTests.random)] as [(Bool, String?)])
    func `a random ID needs no state unless it has one already`(hasState: Bool, stateID: String?) throws {
        #expect(try request(Self.random, .ephemeral, hasState: hasState).stateIdentity.stateID == stateID)
    }

    @Test func `a random ID is kept for the time that the operator gives`() throws {
        #expect(try request(Self.random, .kept(60)).keptFor == 60)
        #expect(try request("web", .kept(60)).keptFor == nil)
    }

    /// Its ID is random, and says nothing.
    @Test func `a pod's container has the state of its names`() throws {
        let names = PodIdentityTests.containerd.map { #""\#($0.key)": "\#($0.value)""# }.joined(separator: ", ")
        let state = #"{"id": "\#(Self.random)", "bundle": "/bundle", "annotations": {\#(names)}}"#
        let config =
            #"{"root": {"path": "rootfs"}, "mounts": [{"destination": "/dev", "type": "tmpfs"}], "annotations": {\#(names)}}"#
        var configuration = Configuration()
        (configuration.state.source, configuration.state.scope) = (.pod, .containerd)
        configuration.state.randomIDs = .kept(60)
        func request(_ bundle: CRIBundle?) throws -> CreationRequest {
            try CreationRequest(
                of: ContainerState(parsing: Array(state.utf8)),
                BundleConfig(parsing: Array(config.utf8), path: "config.json"),
                configuration,
                bundle
            ) { _ in false }
        }
        let made = try request(CRIBundle(path: "/bundle"))
        #expect(made.stateIdentity == .persistent(stateID: "containerd/default/pod/db-0/tpm"))
        #expect(made.keptFor == nil)
        let error = #expect(throws: Failure.self) { try request(nil) }
        #expect(error?.why == "nothing shows that the CRI engine \"containerd\" has made the container")
    }

    @Test(arguments: [
        "", #"{"destination": "/dev", "type": "bind", "options": ["rbind"]}"#,
        #"{"destination": "/data", "type": "tmpfs"}"#,
    ])
    func `a container without a /dev of its own is refused`(mount: String) {
        let error = #expect(throws: Failure.self) { try request("web", mount: mount) }
        #expect(error?.why == "it is no tmpfs of its own")
    }
}
