import Glibc
import Platform
import VTPMProxy

/// Proxy descriptors without a TPM, which are kept so that their numbers stay taken.
///
/// Every command is answered with TPM_RC_FAILURE, so a container learns at once that its TPM has failed. The kernel
/// must not wait either, since its work queue registers one vTPM after the other.
struct FailureResponder: ~Copyable {
    private var numbers: [CInt] = []
    private var silent: Set<CInt> = []
    private let buffer = ScratchBuffer(size: ProxyTransport.bufferSize)
    private let response = TPMCommand.response(code: TPMCommand.failure)

    deinit {
        for number in numbers { close(number) }
    }

    /// Takes ownership of a descriptor.
    ///
    /// If a command was read from it and never answered, it is answered now.
    mutating func take(_ server: consuming Descriptor) {
        _ = try? ProxyTransport.send(response, to: server)
        numbers.append(server.release())
    }

    /// Adds the descriptors to a poll set; returns the index of each.
    func watch(in set: inout PollSet) -> [(descriptor: CInt, index: Int)] {
        numbers.filter { !silent.contains($0) }.map { ($0, set.add($0)) }
    }

    /// Answers the commands that have come.
    mutating func respond(_ watched: [(descriptor: CInt, index: Int)], in set: borrowing PollSet) {
        for (number, index) in watched where set.isReady(index) {
            guard set.events(at: index) & CInt(POLLIN) != 0, serveOne(number) else {
                // The kernel gave the device up. Its number is free once the descriptor is closed, and not before.
                silent.insert(number)
                continue
            }
        }
    }

    private func serveOne(_ number: CInt) -> Bool {
        let server = Descriptor(owning: number)
        var goesOn = false
        if case .command? = try? ProxyTransport.receive(from: server, into: buffer),
            let sent = try? ProxyTransport.send(response, to: server)
        {
            goesOn = sent != .gone
        }
        _ = server.release()
        return goesOn
    }
}
