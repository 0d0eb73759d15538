import Platform
import RuntimeControl
import Testing
import VTPMProxy

/// Each message of each protocol, with the longest that it can say.
@Suite struct MessageTests {
    let near: Channel
    let far: Channel
    let buffer = Channel.makeBuffer()

    init() throws {
        let pair = try Channel.pair(near: "one", far: "other")
        near = pair.near
        far = pair.far
    }

    static let request = StartRequest(
        storage: .persistent(
            PersistentStorage(
                stateID: "web",
                formerStateID: "w",
                statesPath: "/s",
                indexPath: "/i",
                keyCount: 2,
                counter: .init(device: "/dev/tpmrm0", handle: 0x0180_7654),
                keptFor: 7
            )
        ),
        containerID: "ü",
        bundle: "/b",
        leaseName: "l",
        initProcess: ProcessID(process: 77, startTime: 1 << 40),
        keys: RequestedKeys(ofNew: .standard, ofExisting: StandardKeys(.endorsementP256), banks: [.sha256, .sha384])
    )
    static var sharing: StartRequest {
        var sharing = request
        sharing.cgroup = CgroupIdentity(mountPoint: "/sys/fs/cgroup", mountRoot: 1, path: "a/ü", inode: 1 << 40)
        return sharing
    }
    static var ephemeral: StartRequest {
        var ephemeral = request
        ephemeral.storage = .ephemeral
        return ephemeral
    }
    static var pooled: StartRequest {
        var pooled = request
        pooled.pooled = LibraryVersion(0, 9, 2)
        return pooled
    }
    static let started = StartedTPM(
        library: LibraryVersion(0, 9, 2),
        resets: TPMResets(resetCount: 1, restartCount: 2),
        generation: 1 << 40,
        counter: .init(identity: [3, 4], value: 5),
        endorsement: [1],
        instance: [2, 3]
    )
    static let failure = Failure("cannot do it", because: String(repeating: "ü", count: 40_000))

    private static func container(of request: StartRequest) -> ContainerIdentity {
        ContainerIdentity(initProcess: request.initProcess, cgroup: request.cgroup)
    }

    /// What a message says.
    private func contents(_ message: some ChannelMessage) -> [UInt8] {
        var writer = ByteWriter()
        message.encode(into: &writer)
        return writer.bytes
    }

    /// What comes of a kind and these contents; nil if it is none of the protocol's.
    private func receive<Received: ChannelMessage>(
        _ kind: UInt8,
        _ bytes: [UInt8],
        as type: Received.Type
    ) throws -> Received? {
        try bytes.withUnsafeBytes { try near.send(kind: kind, $0) }
        guard let message = try far.receive(into: buffer) else { throw Failure("no", because: "message") }
        return Received(message)
    }

    /// It comes back as it was, is never too long, and what is cut or followed by more is refused unless it is words.
    private func check<Checked: ChannelMessage>(_ message: Checked, isText: Bool = false) throws {
        let bytes = contents(message)
        #expect(bytes.count <= Checked.maximumSize, "\(message)")
        try near.send(message)
        guard let received = try far.receive(into: buffer) else { throw Failure("no", because: "message") }
        let decoded = Checked(received)
        let again = try #require(decoded, "\(message)")
        #expect(again.kind.rawValue == message.kind.rawValue)
        #expect(contents(again) == bytes, "\(message)")
        guard !isText, !bytes.isEmpty else { return }
        for count in 0..<bytes.count {
            #expect(try receive(message.kind.rawValue, Array(bytes[..<count]), as: Checked.self) == nil, "\(message)")
        }
        #expect(try receive(message.kind.rawValue, bytes + [0], as: Checked.self) == nil, "\(message)")
    }

    @Test func everyMessageComesBackAsItWas() throws {
        let library = LibraryVersion(0, 9, 2)
        for message: HookRequest in [
            .start(Self.request), .start(Self.ephemeral), .start(Self.sharing), .start(Self.pooled), .key, .state,
            .launch,
            .device(number: 7), .reserve,
            .commit, .authority, .adopt(Self.container(of: Self.request)), .adopt(Self.container(of: Self.sharing)),
        ] { try check(message) }
        for message: HookReply in [
            .started(worker: 77), .needsAuthority(isNew: true), .needsAuthority(isNew: false),
            .ready(StartedTPM(library: library)), .ready(Self.started),
            .serving, .committed, .adopted,
        ] {
            try check(message)
        }
        try check(HookReply.failure(Self.failure), isText: true)
        for message: WorkerRequest in [
            .confine(user: 7, filter: [1, 2, 3]), .initialize(hasState: true, .standard),
            .initialize(hasState: false, TPMProvision(keys: [], banks: .sha256)), .state, .launch,
            .stored, .refused,
            .serve, .shutdown, .expectEnd, .watch, .registered(selfTestAfter: 70_000), .execute,
            .close(instance: []), .close(instance: [7, 8]),
        ] { try check(message) }
        for message: WorkerReply in [.confined(library), .state, .serving, .stopped, .open, .response] {
            try check(message)
        }
        let resets = TPMResets(resetCount: 7, restartCount: 1 << 31)
        let refused = [RefusedKey(.endorsementP256, code: 0x9a2), RefusedKey(.storageRSA, code: 0x14b)]
        for list in [[], refused] { try check(WorkerReply.ready(list, resets)) }
        try check(WorkerReply.failure(Self.failure), isText: true)
        try check(WorkerReply.failed(Self.failure), isText: true)
        for message: ControlRequest in [.status, .stop, .rekey] { try check(message) }
        let status = VTPMStatus(health: .failed, generation: 1 << 33, reason: Self.failure.description)
        for message: ControlReply in [.status(status), .rekeyed] { try check(message) }
        try check(ControlReply.failure(Self.failure), isText: true)
    }

    @Test func whatIsSaidToTheAuthorityComesBackAsItWas() throws {
        let library = LibraryVersion(0, 9, 2), instance = [UInt8](0..<16)
        let orders = EndorsementOrders(
            level: .certificates,
            keys: StandardKeys(.endorsementP256),
            containerID: "web",
            bundle: "/run/bundle",
            image: "docker.io/library/web:1",
            stateID: "scope/web",
            time: 1 << 33,
            chain: [[1, 2], []]
        )
        let revoked = try #require(RevokedCertificate(serialNumber: [0x7f, 1], time: 1 << 33))
        let list = RevocationOrders(time: 1, nextUpdate: 2, certificate: [0x30, 0])
        var named = orders
        named.listURL = "http://example.org/crl"
        named.platform = PlatformName(manufacturer: "Example", model: "Edge", version: "2")
        for order: AuthorityOrder in [
            .confine(user: 7), .generate, .endorse(orders), .endorse(named), .key, .list(list),
            .revoked([revoked, revoked]), .external(10_000),
        ] {
            try check(order)
        }
        for answer: AuthorityAnswer in [.confined, .generated([0x30, 0]), .key, .list] { try check(answer) }
        try check(AuthorityAnswer.failure(Self.failure), isText: true)
        for request: AuthorityRequest in [
            .begin(instance: instance, isNew: true, library: library, former: []),
            .begin(instance: [], isNew: false, library: library, former: [1, 0, 7]), .response, .claimed(.own),
            .claimed(.taken), .claimed(.changed), .kept,
        ] { try check(request) }
        let mark = [UInt8](repeating: 9, count: 33)
        for reply: AuthorityReply in [.execute, .claim([]), .claim([mark, mark]), .keep, .complete] {
            try check(reply)
        }
        try check(AuthorityReply.notice(Self.failure), isText: true)
        try check(AuthorityReply.failure(Self.failure), isText: true)
        #expect(try receive(4, [9] + [UInt8](repeating: 9, count: 33 * 9), as: AuthorityReply.self) == nil)
        #expect(try receive(1, [2, 0, 0, 9, 2, 0, 0, 0], as: AuthorityRequest.self) == nil)
        #expect(try receive(1, [1, 0, 0, 9, 2, 1, 0, 0, 0], as: AuthorityRequest.self) == nil)
        #expect(try receive(5, [3], as: AuthorityRequest.self) == nil)
    }

    @Test func whatIsSaidOfAPreparationComesBackAsItWas() throws {
        let token = [UInt8](0..<16)
        for message: AdoptionRequest in [.adopt(token: token), .abandon(token: token)] { try check(message) }
        try check(AdoptionReply.handedOver)
        try check(AdoptionReply.failure(Self.failure), isText: true)
        for message: PreparationReply in [.prepared, .nothing] { try check(message) }
        try check(PreparationReply.failure(Self.failure), isText: true)
        for kind in [0, 3, 255] as [UInt8] { #expect(try receive(kind, token, as: AdoptionRequest.self) == nil) }
        for kind in [0, 3, 255] as [UInt8] { #expect(try receive(kind, [], as: AdoptionReply.self) == nil) }
        for kind in [0, 4, 255] as [UInt8] { #expect(try receive(kind, [], as: PreparationReply.self) == nil) }
        try check(CommandNotice.ready)
        #expect(try receive(1, [0], as: CommandNotice.self) == nil)
        #expect(try receive(2, [], as: CommandNotice.self) == nil)
    }

    @Test func aRequestComesBackWithAllThatItSays() throws {
        for request in [Self.request, Self.ephemeral, Self.sharing] {
            try near.send(HookRequest.start(request))
            guard let message = try far.receive(into: buffer), case .start(let received)? = HookRequest(message) else {
                throw Failure("no", because: "request")
            }
            #expect(received == request)
        }
    }

    @Test func aWorkerLeavesOutNoKeyButOneThatATenantCanStandInTheWayOf() {
        let keys = RequestedKeys(ofNew: .standard, ofExisting: StandardKeys(.endorsementP256))
        let asked = [RefusedKey(.endorsementP256, code: 0x9a2)], other = [RefusedKey(.storageRSA, code: 0x9a2)]
        #expect(keys.admit([], isNew: true) && keys.admit([], isNew: false) && keys.admit(asked, isNew: false))
        #expect(!keys.admit(asked, isNew: true) && !keys.admit(other, isNew: false))
        #expect(!keys.admit(asked + other, isNew: false))
    }

    /// A kind that a protocol does not have, or has in the other direction alone, is none of its messages.
    @Test func anotherKindIsNoMessage() throws {
        let answers: Set<UInt8> = [3, 6, 7, 9, 11, 13, 15, 17, 19]
        for kind in UInt8.min...UInt8.max {
            let isAnswer = answers.subtracting([6, 13]).contains(kind)
            #expect(try (receive(kind, [], as: WorkerReply.self) != nil) == isAnswer, "\(kind)")
        }
        // A number of refusals, and for each a key and a response code; then how often the TPM was started.
        let refusal: [UInt8] = [1, 0, 0, 9, 0xa2]
        let resets: [UInt8] = [0, 0, 0, 7, 0, 0, 0, 1]
        for list in [[], [1], [1] + refusal + [0], [2] + refusal + refusal, [1, 9, 0, 0, 9, 0xa2], [10] + refusal] {
            #expect(try receive(6, list + resets, as: WorkerReply.self) == nil, "\(list)")
        }
        #expect(try receive(6, [1] + refusal + resets, as: WorkerReply.self) != nil)
        #expect(try receive(6, [1] + refusal + resets.dropLast(), as: WorkerReply.self) == nil)
        #expect(try receive(8, [], as: HookReply.self) == nil)
        #expect(try receive(9, [], as: HookRequest.self) == nil)
        #expect(try receive(1, [2], as: WorkerRequest.self) == nil)
    }

    /// Names come from a container's configuration: ones that are too long are an error, and nothing is sent.
    @Test func aRequestThatIsTooLongIsNotSent() throws {
        var request = Self.request
        request.bundle = String(repeating: "b", count: HookRequest.maximumSize)
        let error = #expect(throws: Failure.self) { try near.send(HookRequest.start(request)) }
        #expect(error?.description.contains("bytes, and 32767 are the most") == true)
        #expect(try wait(for: far.descriptor.number, until: Deadline(milliseconds: 0)) == 0)
    }
}
