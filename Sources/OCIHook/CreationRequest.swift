import Configuration
import Platform

/// The state that a vTPM gets, and the configuration that leads to its keys.
struct RequestedState: Sendable {
    let identity: StateIdentity
    /// The time to keep the state after its last use, in seconds; nil to keep it until somebody removes it.
    let keptFor: UInt64?
    let configuration: Configuration
    /// The event about what runs; nil if the launch is not measured.
    let launch: [UInt8]?
}

/// A container's request for a TPM, decided from its state, its bundle and the operator's configuration.
///
/// The decision is made before anything is made for the container. This type does no I/O of its own.
struct CreationRequest: Sendable {
    let config: BundleConfig
    let configuration: Configuration
    let stateIdentity: StateIdentity
    /// The time to keep the state after its last use, in seconds; nil to keep it until somebody removes it.
    let keptFor: UInt64?
    /// The path of the container's root filesystem on the host.
    let rootPath: String
    /// The event about what runs; nil if the launch is not measured.
    var launch: [UInt8]?

    /// What of it counts for the vTPM, whatever it is put into.
    var state: RequestedState {
        RequestedState(identity: stateIdentity, keptFor: keptFor, configuration: configuration, launch: launch)
    }

    /// Decides which state the container gets, and for how long it is kept.
    ///
    /// - Parameters:
    ///   - state: The container's state, as the runtime gave it.
    ///   - config: The bundle's `config.json`.
    ///   - configuration: The operator's configuration.
    ///   - bundle: The evidence that the container is of a pod, if states are named by pods.
    ///   - hasState: Returns whether a container of this ID already has a state on this host.
    /// - Throws: ``Failure`` if an annotation is refused, or if the container could not take its TPM.
    init(
        of state: ContainerState,
        _ config: BundleConfig,
        _ configuration: Configuration,
        _ bundle: CRIBundle? = nil,
        hasState: (_ containerID: String) throws(Failure) -> Bool
    ) throws(Failure) {
        let annotations = try Annotations(state: state.annotations, bundle: config.annotations)
        let allowed = configuration.state
        let retention = StateIdentity.retention(containerID: state.id, annotations: annotations, allowed: allowed)
        // The state may be older than the operator's decision to make such containers ephemeral. The container must
        // then not get another TPM at its next start.
        if retention == .ephemeral, try !hasState(state.id) {
            stateIdentity = .ephemeral
        } else {
            stateIdentity = try .decide(
                containerID: state.id,
                annotations: annotations,
                allowed: allowed,
                bundle: bundle
            )
        }
        keptFor = retention.keptFor
        rootPath = try config.rootPath(bundle: state.bundle)
        guard config.mountsOwnDev else {
            throw Failure(
                "cannot put the TPM into the container's /dev",
                because: "it is no tmpfs of its own",
                hint: ContainerDev.devHint
            )
        }
        self.config = config
        var configuration = configuration
        try configuration.manufacture.obey(annotations)
        self.configuration = configuration
    }
}
