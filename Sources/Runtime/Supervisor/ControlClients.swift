import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState

extension Supervisor {
    /// The largest number of connections at once; others are turned away.
    private static let clientLimit = 16

    func acceptClient() {
        switch lease {
        case .none: break
        case .some(let lease):
            guard let channel = try? ControlSocket.accept(from: lease.listener), clients.count < Self.clientLimit
            else { return }
            clients.append(channel)
        }
    }

    func serveClients(_ indices: [Int], in set: borrowing PollSet) {
        var kept: [Channel] = []
        for (client, index) in zip(clients, indices) {
            if !set.isReady(index) || answer(client) { kept.append(client) }
        }
        clients = kept + clients.dropFirst(indices.count)
    }

    /// Answers one message; returns false if the connection is to be closed.
    ///
    /// A connection that waits for the stop is kept: its end says that everything is cleaned up.
    private func answer(_ client: Channel) -> Bool {
        defer { buffer.wipe() }
        guard let message = try? client.receive(into: buffer) else { return false }
        switch ControlRequest(message) {
        case .status:
            return (try? client.send(ControlReply.status(status))) != nil
        case .stop:
            return true
        case .rekey:
            do throws(Failure) {
                let key = try SecretBytes(capacity: MasterKey.size)
                guard message.append(to: key) else {
                    throw Failure("cannot change the key of \(name)", because: "the message has no key")
                }
                try store.rekey(to: MasterKey(key))
                Log.notice("\(name) goes on with another master key, generation \(store.generation)", .rekeyed)
                return (try? client.send(ControlReply.rekeyed)) != nil
            } catch {
                Log.error("\(name): \(error)")
                return (try? client.send(ControlReply.failure(error))) != nil
            }
        case .none:
            return false
        }
    }

    private var status: VTPMStatus {
        let health: VTPMStatus.Health
        switch lifecycle.phase {
        case .committed(.failed): health = .failed
        case .stopping, .ended: health = .stopping
        case .starting, .ready, .connecting, .serving, .committed: health = .serving
        }
        let reason = lifecycle.failure?.description ?? ""
        return VTPMStatus(health: health, generation: store.generation, reason: reason)
    }
}
