import Configuration
import Platform

/// A container's request for a TPM: what its state, its bundle and the operator's configuration come to.
///
/// It is decided before anything is made, and reads nothing itself.
struct CreationRequest: Sendable {
    let config: BundleConfig
    let configuration: Configuration
    let stateIdentity: StateIdentity
    /// How long the state is kept after its last use, in seconds; nil if until somebody removes it.
    let keptFor: UInt64?
    /// The path of the container's root filesystem, on the host.
    let rootPath: String

    /// Decides what the container gets.
    ///
    /// - Parameters:
    ///   - state: The container's state, as the runtime tells it.
    ///   - config: The bundle's `config.json`.
    ///   - configuration: The operator's.
    ///   - hasState: Whether a container of this ID has a state on this host already.
    /// - Throws: ``Failure`` if an annotation is refused, or if the container could not take its TPM.
    init(
        of state: ContainerState,
        _ config: BundleConfig,
        _ configuration: Configuration,
        hasState: (_ containerID: String) throws(Failure) -> Bool
    ) throws(Failure) {
        let annotations = try Annotations(state: state.annotations, bundle: config.annotations)
        let allowed = configuration.state
        let retention = StateIdentity.retention(containerID: state.id, annotations: annotations, allowed: allowed)
        // Its state may be older than the operator's decision that such containers need none: then its next start must
        // not give it another TPM.
        if retention == .ephemeral, try !hasState(state.id) {
            stateIdentity = .ephemeral
        } else {
            stateIdentity = try .decide(containerID: state.id, annotations: annotations, allowed: allowed)
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
        self.configuration = configuration
    }
}
