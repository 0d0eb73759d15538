import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeKeys

/// A certificate authority that this process has started, for one order.
public final class AuthorityProcess {
    private let channel: Channel
    private var child: ChildProcess?
    /// The program that signs in place of a key.
    private var signer: SigningProgram?
    private let buffer: ScratchBuffer

    /// What it signs with.
    public enum Means {
        /// A key, which it gets.
        case key(AuthorityKey)
        /// A program of the operator's, and how long that may take, in seconds.
        case command([String], timeout: Int)
    }

    private static let what = "cannot start the certificate authority"
    /// When the last answer has to be there.
    private let deadline: Deadline
    /// How long it may take to end once it has done its work, in milliseconds.
    private static let endTimeout = 5000

    /// Starts the program with this path, in namespaces of its own, and has it confine itself; needs root.
    ///
    /// It gets no key before it is seen to be confined.
    public init(program: String, until deadline: Deadline) throws(Failure) {
        self.deadline = deadline
        let pair = try Channel.pair(near: "starter", far: "certificate authority")
        var launch = ProgramLaunch(program, ["vtpm-ca"])
        launch.passed = [pair.far.descriptor.number]
        buffer = try Channel.makeSecretBuffer()
        let child = try WorkerNamespace.start(launch)
        let process = child.process
        channel = pair.near
        self.child = consume child
        do throws(Failure) {
            let user = try WorkerUser(of: process)
            try tell { (channel) throws(Failure) in try channel.send(AuthorityOrder.confine(user: user.number)) }
            guard case .confined = try receive().0 else {
                throw Failure(Self.what, because: "it does not confine itself")
            }
            // It has no container to watch.
            try WorkerInspection.require(process, confinedAs: user, watchingWith: 0)
        } catch {
            kill()
            throw error
        }
    }

    deinit { kill() }

    /// Has it make a key, and the certificate of an authority with it; both in DER.
    public func generate() throws(Failure) -> (key: SecretBytes, certificate: [UInt8]) {
        try tell { (channel) throws(Failure) in try channel.send(AuthorityOrder.generate) }
        guard case .generated(let certificate) = try receive().0, case (.key, let key?) = try receive() else {
            throw Failure("cannot make the certificate authority", because: "its answer makes no sense")
        }
        return (key, certificate)
    }

    /// Has it make a list of revoked certificates, in DER.
    public func list(_ orders: RevocationOrders, _ key: AuthorityKey) throws(Failure) -> [UInt8] {
        try tell { (channel) throws(Failure) in
            try channel.send(AuthorityOrder.list(orders), until: deadline)
            try send(key, over: channel)
        }
        var list: [UInt8] = []
        while true {
            let (answer, contents) = try receive()
            guard case .list = answer, let contents, list.count <= Self.listLimit else {
                throw Failure("cannot make the list of revoked certificates", because: "the answer makes no sense")
            }
            list += contents.withBytes { Array($0) }
            if contents.count < Channel.chunkSize { return list }
        }
    }

    /// The largest list, in bytes: some 50 for each certificate.
    private static let listLimit = 1 << 20

    /// Hands over what the authority has revoked, and its key.
    private func send(_ key: AuthorityKey, over channel: Channel) throws(Failure) {
        let limit = RevokedCertificate.messageLimit
        for start in stride(from: 0, to: key.revoked.count, by: limit) {
            let part = Array(key.revoked[start..<min(start + limit, key.revoked.count)])
            try channel.send(AuthorityOrder.revoked(part), until: deadline)
        }
        try channel.send(AuthorityOrder.key, key.key, until: deadline)
    }

    /// Tells it what to endorse, and returns the supervisor's end of the channel to it; from then on it works by itself.
    ///
    /// `means` is what it signs with, nil if no certificates are asked for.
    public func endorse(_ orders: EndorsementOrders, by means: Means?) throws(Failure) -> Channel {
        let pair = try Channel.pair(near: "supervisor", far: "certificate authority")
        try tell { (channel) throws(Failure) in
            try channel.send(AuthorityOrder.endorse(orders), descriptors: [pair.far.descriptor.number])
            switch means {
            case .none: break
            case .key(let key): try send(key, over: channel)
            case .command(let command, let timeout):
                let signer = try SigningProgram(command)
                self.signer = signer
                let order = AuthorityOrder.external(UInt32(timeout * 1000))
                try channel.send(order, descriptors: [signer.stream.number], until: deadline)
            }
        }
        return pair.near
    }

    /// Sends it something; if it has ended, throws what it has said before.
    private func tell(_ send: (Channel) throws(Failure) -> Void) throws(Failure) {
        do throws(Failure) {
            try send(channel)
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            _ = try receive()
            throw error
        }
    }

    /// Waits for its end, and kills it if that does not come.
    public func end() {
        switch child.take() {
        case .none: break
        case .some(let child): _ = try? child.wait(until: Deadline(milliseconds: Self.endTimeout))
        }
        signer?.end()
        signer = nil
    }

    /// Kills it, unless it has ended.
    public func kill() {
        switch child.take() {
        case .none: break
        case .some(let child): _ = try? child.end()
        }
        signer?.end()
        signer = nil
    }

    private func receive() throws(Failure) -> (AuthorityAnswer, SecretBytes?) {
        defer { buffer.wipe() }
        guard try wait(for: channel.descriptor.number, until: deadline) != 0 else {
            throw Failure(Self.what, because: "it does not answer")
        }
        guard let message = try channel.receive(into: buffer) else { throw Failure(Self.what, because: "it ended") }
        switch AuthorityAnswer(message) {
        case .failure(let failure): throw failure
        case .key, .list:
            let contents = try SecretBytes(capacity: max(message.count, 1))
            guard message.append(to: contents) else { throw Failure(Self.what, because: "its answer is too long") }
            if case .list? = AuthorityAnswer(message) { return (.list, contents) }
            return (.key, contents)
        case .some(let answer): return (answer, nil)
        case .none: throw Failure(Self.what, because: "it sent message \(message.kind) out of turn")
        }
    }
}
