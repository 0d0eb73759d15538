import Glibc
import Platform
import RuntimeControl

/// The hook's part of the conversation as it was at the commit of ``Side/before``.
///
/// hook: `start`, `key` — supervisor: `ready` — hook: `device` — supervisor: `serving` — hook: `commit` — supervisor:
/// `committed`.
private enum MessageBefore {
    static let start: UInt8 = 1
    static let key: UInt8 = 2
    /// With the worker's process ID, 32 bits.
    static let ready: UInt8 = 3
    static let failure: UInt8 = 4
    static let device: UInt8 = 5
    static let serving: UInt8 = 6
    static let commit: UInt8 = 8
    static let committed: UInt8 = 9

    /// The contents of `start`: a persistent state with one key and without a counter.
    static func start(_ name: String, in place: Place, for initProcess: FakeInit) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt8(1))
        for text in [name, "\(place.directory)/states", "\(place.directory)/index"] { writer.write(text: text) }
        writer.write(UInt8(1))
        writer.write(text: "")
        writer.write(UInt32(0))
        for text in [name, place.directory, name] { writer.write(text: text) }
        writer.write(UInt32(bitPattern: initProcess.identity.process))
        writer.write(initProcess.identity.startTime)
        return writer.bytes
    }
}

extension OurTPM {
    /// The environment of the programs at that commit.
    private static let environmentBefore = [
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "SWIFT_BACKTRACE=enable=no",
    ]

    /// A supervisor and worker as they were; its files are in a place of their own.
    convenience init(
        before name: String,
        in place: Place,
        for initProcess: FakeInit,
        tracer: [String] = []
    ) throws(Failure) {
        let start = try Start(in: place, environment: Self.environmentBefore, tracer: tracer)
        func send(_ kind: UInt8, _ body: [UInt8] = [], _ descriptors: [CInt] = []) throws(Failure) {
            let copy = ScratchBuffer(size: max(body.count, 1))
            copy.write { memory in
                memory.copyBytes(from: body)
                return body.count
            }
            try copy.withBytes { (bytes) throws(Failure) in
                try start.hook.send(kind: kind, UnsafeRawBufferPointer(bytes), descriptors: descriptors)
            }
        }
        let buffer = Channel.makeBuffer()
        func expect(_ kind: UInt8) throws(Failure) -> [UInt8] {
            let message = try start.receive(into: buffer)
            guard message.kind != MessageBefore.failure else { throw message.failure }
            guard message.kind == kind else {
                throw Failure("cannot start a vTPM", because: "its supervisor sent message \(message.kind)")
            }
            return message.body
        }
        let directories = try Directories(of: place)
        let contents = MessageBefore.start(name, in: place, for: initProcess)
        try send(MessageBefore.start, contents, directories.numbers(for: initProcess))
        try send(MessageBefore.key, Place.key)
        let worker = pid_t(try expect(MessageBefore.ready).reduce(0) { $0 << 8 | Int32($1) })
        let ends = try Device.pair()
        try send(MessageBefore.device, [0, 0, 0, 0], [ends.far.number])
        _ = try expect(MessageBefore.serving)
        try send(MessageBefore.commit)
        _ = try expect(MessageBefore.committed)
        self.init(start, worker: worker, device: Device(owning: ends.near), of: initProcess)
    }
}
