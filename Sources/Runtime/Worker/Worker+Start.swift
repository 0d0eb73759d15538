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

    /// What a worker is to start its TPM from.
    struct Orders {
        /// The state of an existing TPM; nil if one is to be manufactured.
        var state: SecretBytes?
        /// The keys that it is to have at their handles, and the banks of PCRs if it is manufactured.
        var provision: TPMProvision
    }

    /// Receives the orders.
    func receiveOrders() throws(Failure) -> Orders {
        let what = "cannot start the TPM"
        guard let message = try channel.receive(into: buffer),
            case .initialize(let hasState, let provision)? = WorkerRequest(message)
        else {
            throw Failure(what, because: "the supervisor did not ask for it")
        }
        var orders = Orders(state: nil, provision: provision)
        guard hasState else { return orders }
        defer { buffer.wipe() }
        var incoming = IncomingState(from: "supervisor", failing: "cannot start the TPM")
        while true {
            guard let message = try channel.receive(into: buffer), case .state? = WorkerRequest(message) else {
                throw Failure(what, because: "the supervisor sent no whole state")
            }
            if let state = try incoming.take(message) {
                orders.state = state
                return orders
            }
        }
    }

    /// Executes the commands of the host until it has no more, and measures the launch if it has one.
    func executeForHost(_ engine: TPMEngine) throws(Failure) {
        let what = "cannot start the TPM"
        var incoming = IncomingState(from: "supervisor", failing: "cannot measure the launch")
        var launch: SecretBytes?
        try channel.send(WorkerReply.open)
        while true {
            guard let message = try channel.receive(into: buffer) else {
                throw Failure(what, because: "the supervisor is gone")
            }
            switch WorkerRequest(message) {
            case .execute:
                // A copy, since the supervisor's word that a state is stored comes into the same buffer.
                var command = message.body
                let response = command.withUnsafeMutableBytes { engine.process($0) }
                try channel.sendChunks(WorkerReply.response, of: response)
            case .launch: launch = try incoming.take(message) ?? launch
            case .close(let instance):
                if let launch { try engine.measure(launch, instance) }
                return
            default: throw Failure(what, because: "the supervisor sent message \(message.kind) out of turn")
            }
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
