import Platform
import RuntimeConfinement
import RuntimeControl
import VTPMProxy

// What a worker does before it serves: its confinement, the state, the device.
extension Worker {
    /// Gives up what a TPM does not need, before it reads anything of the tenant's or of a state.
    ///
    /// Returns what shows the container's end.
    func confine() throws(Failure) -> ContainerWatch {
        let what = "cannot confine the worker"
        try WorkerConfinement.refuseInheritance(but: channel.descriptor.number)
        TPMEngine.prepareLibraries()
        guard var message = try channel.receive(into: buffer),
            case .confine(let number, let instructions)? = WorkerRequest(message),
            let network = message.descriptors.take(), let initProcess = message.descriptors.take()
        else {
            throw Failure(what, because: "the supervisor did not ask for it")
        }
        guard let user = WorkerUser(number) else {
            throw Failure(what, because: "the supervisor named no user for it")
        }
        guard let filter = SystemCallProgram(instructions) else {
            throw Failure(what, because: "the supervisor sent no filter for it")
        }
        try WorkerConfinement.enforce(as: user, in: network, under: filter)
        try channel.send(WorkerReply.confined(TPMLibrary.version))
        return ContainerWatch(initProcess: initProcess, cgroupEvents: message.descriptors.take())
    }

    /// Takes what shows the end of the container that adopts the vTPM; it is watched from the next command on.
    func takeWatch(_ message: inout Message) {
        guard let initProcess = message.descriptors.take() else { return }
        adopted = ContainerWatch(initProcess: initProcess, cgroupEvents: message.descriptors.take())
    }

    /// Receives the state of an existing TPM, nil if one is to be manufactured, and the keys that it is to have at their handles.
    func receiveOrders() throws(Failure) -> (state: SecretBytes?, keys: StandardKeys) {
        let what = "cannot start the TPM"
        guard let message = try channel.receive(into: buffer),
            case .initialize(let hasState, let keys)? = WorkerRequest(message)
        else {
            throw Failure(what, because: "the supervisor did not ask for it")
        }
        guard hasState else { return (nil, keys) }
        defer { buffer.wipe() }
        var incoming = IncomingState(from: "supervisor", failing: "cannot start the TPM")
        while true {
            guard let message = try channel.receive(into: buffer), case .state? = WorkerRequest(message) else {
                throw Failure(what, because: "the supervisor sent no whole state")
            }
            if let state = try incoming.take(message) { return (state, keys) }
        }
    }

    /// Waits for the device; returns nil if none comes.
    ///
    /// That is so if the container was not created, or if an imported state was only tried out, which ends with a
    /// shutdown.
    func receiveDevice(_ engine: TPMEngine) throws(Failure) -> Descriptor? {
        guard var message = try channel.receive(into: buffer) else { return nil }
        switch WorkerRequest(message) {
        case .serve: return message.descriptors.take()
        case .shutdown:
            try shutDown(engine)
            return nil
        default: return nil
        }
    }
}
