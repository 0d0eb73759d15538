import Configuration
import Platform
import Testing

@testable import OCIHook

/// Which containers get a TPM, by their annotations and the configuration.
@Suite struct SelectionTests {
    private static let enable = Annotations.Key.enable.rawValue
    private static let containerd = ["io.kubernetes.cri.container-type": "sandbox"]
    private static let crio = ["io.kubernetes.cri-o.ContainerType": "sandbox"]

    private func select(
        _ annotations: [String: String],
        _ selection: Configuration.Container.Selection,
        optOut: Bool = false
    ) throws -> Bool {
        var allowed = Configuration.Container()
        (allowed.selection, allowed.allowsOptOut) = (selection, optOut)
        return try Annotations(state: annotations, bundle: annotations).selectTPM(allowed)
    }

    private func refusal(
        _ annotations: [String: String],
        _ selection: Configuration.Container.Selection
    ) throws -> String {
        let error = #expect(throws: Failure.self) { try select(annotations, selection) }
        return try #require(error).description
    }

    @Test func `all containers get one, or those that ask for it`() throws {
        for annotations in [[:], [Self.enable: "true"], ["io.kubernetes.cri.container-type": "container"]] {
            #expect(try select(annotations, .all))
        }
        #expect(try !select([:], .annotated))
        #expect(try select([Self.enable: "true", StateIdentityTests.state: "ephemeral"], .annotated))
    }

    @Test func `a container does without where the configuration admits it`() throws {
        #expect(try !select([Self.enable: "false"], .all, optOut: true))
        #expect(try !select([Self.enable: "false"], .annotated))
        #expect(
            try refusal([Self.enable: "false"], .all)
                == "cannot obey the annotation org.container-vtpm.enable: the configuration does not let a container do "
                + "without a TPM (container.opt-out = true)"
        )
    }

    /// An engine sets its own after the pod's, and the other engine's can be the pod's author's.
    @Test func `a container that is a sandbox only by another engine's annotation is none`() throws {
        let crioContainer = Self.crio.mapValues { _ in "container" }
        #expect(try select(Self.containerd.merging(crioContainer) { $1 }, .all))
        let containerdContainer = Self.containerd.mapValues { _ in "container" }
        #expect(try select(Self.crio.merging(containerdContainer) { $1 }, .all))
    }

    @Test(arguments: [containerd, crio]) func `a pod's sandbox gets none`(sandbox: [String: String]) throws {
        for selection in Configuration.Container.Selection.allCases {
            #expect(try !select(sandbox, selection))
            #expect(try !select(sandbox.merging([Self.enable: "true"]) { $1 }, selection))
            #expect(try !select(sandbox.merging([StateIdentityTests.state: "ephemeral"]) { $1 }, selection))
            #expect(try refusal(sandbox.merging([Self.enable: "no"]) { $1 }, selection).contains("\"no\" is neither"))
        }
    }

    @Test(arguments: ["", "yes", "True", "1", "true "]) func `another value is an error`(value: String) throws {
        for selection in Configuration.Container.Selection.allCases {
            #expect(
                try refusal([Self.enable: value], selection)
                    == "cannot obey the annotation org.container-vtpm.enable: \"\(value)\" is neither \"true\" nor \"false\""
            )
        }
    }

    /// It would start with less than it asked for.
    @Test(arguments: [StateIdentityTests.state, StateIdentityTests.stateID])
    func `a container that says which TPM it wants has to ask for one`(key: String) throws {
        #expect(
            try refusal([key: "ephemeral"], .annotated)
                == "cannot obey the annotation \(key): the container does not ask for a TPM "
                + "(it needs the annotation org.container-vtpm.enable = \"true\")"
        )
    }

    @Test func `annotations that say nothing of it are known`() throws {
        func areSilent(_ annotations: [String: String]) throws -> Bool {
            try Annotations(state: annotations, bundle: annotations).areSilent
        }
        #expect(try areSilent([:]) && areSilent([StateIdentityTests.state: "ephemeral"]))
        #expect(try !areSilent([Self.enable: "true"]) && !areSilent([Self.enable: "false"]))
        #expect(try !areSilent(Self.containerd) && !areSilent(Self.crio))
    }
}
