import Platform
import RuntimeControl
import VTPMProxy

/// What is measured of a launch once a worker's TPM has started up, and how far that is.
struct Launch {
    /// The event about what runs; nil if the launch is not measured, and once the worker has it.
    var event: SecretBytes?
    /// The generation of the state that the TPM was started from; 0 if it is new.
    let generation: UInt64
    /// The event about the instance, which the hook gets for the log; empty if the launch is not measured.
    var instance: [UInt8] = []
    /// How often the worker's TPM was started, once it has said so.
    var resets = TPMResets(resetCount: 0, restartCount: 0)
    /// Whether the worker's TPM waits for what the host has for it, or has done so.
    var hasOpened = false
    /// Whether the worker was told that nothing more follows.
    var isClosed = false

    init(event: SecretBytes?, generation: UInt64) {
        self.event = event
        self.generation = generation
    }
}

extension Supervisor {
    /// Notes that the worker's TPM waits for what the host has for it.
    func noteOpen() throws(Failure) {
        launch.hasOpened = true
        if endorsement == nil { try closePlatform() } else { try beginEndorsement() }
    }

    /// Has the worker measure the launch, and close the platform hierarchy.
    func closePlatform() throws(Failure) {
        guard let worker else { return }
        if launch.event != nil { launch.instance = try LaunchInstance.event(of: store, startedFrom: launch.generation) }
        try worker.close(measuring: launch.event, launch.instance)
        launch.event = nil
        launch.isClosed = true
    }
}
