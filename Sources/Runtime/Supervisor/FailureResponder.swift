import Glibc
import Platform
import VTPMProxy

/// Proxy descriptors with no TPM behind them, which are kept so that their numbers stay taken.
///
/// Every command gets TPM_RC_FAILURE: a container whose TPM died learns so at once, and the kernel is never kept waiting,
/// since its work queue registers one vTPM after the other.
struct FailureResponder: ~Copyable {
    private var numbers: [CInt] = []
    private var silent: Set<CInt> = []
    private let buffer = ScratchBuffer(size: ProxyTransport.bufferSize)
    private let response = TPMCommand.response(code: TPMCommand.failure)

    deinit {
        for number in numbers { close(number) }
    }

    /// Takes a descriptor over.
    ///
    /// A command that was read from it and never answered is answered now.
    mutating func take(_ server: consuming Descriptor) {
        _ = try? ProxyTransport.send(response, to: server)
        numbers.append(server.release())
    }

    /// Adds the descriptors to a poll set; returns the index of each.
    func watch(in set: inout PollSet) -> [(descriptor: CInt, index: Int)] {
        numbers.filter { !silent.contains($0) }.map { ($0, set.add($0)) }
    }

    /// Answers what came.
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
