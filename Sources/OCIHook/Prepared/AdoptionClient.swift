import Glibc
import Platform
import RuntimeControl
import RuntimeLease

extension SupervisorLink {
    /// How long the process that has prepared the vTPM may take to hand it over, in milliseconds.
    private static let timeout = 10_000

    /// Takes over the vTPM with this token from the process that has prepared it.
    convenience init(
        adopting token: [UInt8],
        _ lease: Lease,
        _ leaseName: String,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) {
        let what = "cannot take over the vTPM that was prepared"
        let hint = "create the container again"
        guard let opened = try OpenLease.open(leaseName, in: runDirectory) else {
            throw Failure(what, because: "it is gone", hint: hint)
        }
        let client = try ControlSocket.connect(
            in: opened.directory,
            as: AdoptionRequest.socketName,
            of: "preparing process"
        )
        try client.send(AdoptionRequest.adopt(token: token))
        guard try wait(for: client.descriptor.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
            throw Failure(what, because: "the process that has prepared it does not answer")
        }
        guard var message = try client.receive(into: Channel.makeBuffer()) else {
            throw Failure(what, because: "the process that has prepared it ended", hint: hint)
        }
        switch AdoptionReply(message) {
        case .handedOver:
            guard let channel = message.descriptors.take(), let directory = message.descriptors.take() else {
                throw Failure(what, because: "the answer has no vTPM")
            }
            guard let supervisor = try lease.supervisor.reference() else {
                throw Failure(what, because: "its supervisor ended", hint: hint)
            }
            self.init(
                over: Channel(owning: channel, peer: "supervisor"),
                to: supervisor,
                OpenLease(leaseName, directory)
            )
        case .none: throw Failure(what, because: "the answer makes no sense")
        case .failure(let failure): throw failure
        }
    }

    /// Says that the runtime has given a container up, and waits until its vTPM is undone.
    ///
    /// Does nothing if nobody listens: then it is undone already, or its hook has it.
    static func abandonPrepared(
        _ token: [UInt8],
        in lease: borrowing OpenLease,
        until deadline: Deadline
    ) throws(Failure) {
        do {
            let client = try ControlSocket.connect(
                in: lease.directory,
                as: AdoptionRequest.socketName,
                of: "preparing process",
                until: deadline
            )
            try client.send(AdoptionRequest.abandon(token: token), until: deadline)
            _ = try wait(for: client.descriptor.number, until: deadline)
        } catch let error where [ECONNREFUSED, ENOENT, EPIPE, ECONNRESET, EAGAIN].contains(error.code) {}
    }
}
