import CLinux
import Glibc
import Platform

/// One end of a pair of connected sockets that carry whole messages, with descriptors where one needs them.
///
/// unix(7), SOCK_SEQPACKET and SCM_RIGHTS. The first byte of a message is its kind, a number of the protocol's own.
public final class Channel: Sendable {
    /// The socket.
    public let descriptor: Descriptor
    /// Who is at the other end, for errors.
    public let peer: String

    /// The largest message, in bytes.
    ///
    /// Larger contents go in several (``sendChunks(_:of:)``): the kernel needs the memory for a message in few pieces,
    /// and a TPM's write must not fail because memory is fragmented.
    public static let messageLimit = 32 * 1024
    /// The most descriptors in one message.
    public static let descriptorLimit = 4

    /// Takes over a connected socket.
    public init(owning descriptor: consuming Descriptor, peer: String) {
        self.descriptor = descriptor
        self.peer = peer
    }

    /// Makes two connected ends, close-on-exec.
    public static func pair(near: String, far: String) throws(Failure) -> ChannelPair {
        var ends: [CInt] = [-1, -1]
        try systemCall("socketpair", "cannot create a channel") {
            // SOCK_SEQPACKET and SOCK_CLOEXEC are an enumeration to the importer.
            socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends)
        }
        return ChannelPair(
            near: Channel(owning: Descriptor(owning: ends[0]), peer: far),
            far: Channel(owning: Descriptor(owning: ends[1]), peer: near)
        )
    }

    /// Sends one message.
    ///
    /// It waits for room until the deadline; with none, it does not wait at all.
    public func send(
        _ kind: UInt8,
        _ body: UnsafeRawBufferPointer,
        descriptors: [CInt] = [],
        until deadline: Deadline? = nil
    ) throws(Failure) {
        guard body.count < Self.messageLimit, descriptors.count <= Self.descriptorLimit else {
            throw Failure(
                "cannot send to the \(peer)",
                because: "the message has \(body.count + 1) bytes, and \(Self.messageLimit) are the most",
                code: EMSGSIZE
            )
        }
        let number = descriptor.number
        while true {
            do {
                try systemCall("sendmsg", "cannot send to the \(peer)") {
                    transmit(number, kind, body, descriptors)
                }
                return
            } catch let error where error.code == EAGAIN {
                guard let deadline, try wait(for: number, CInt(POLLOUT), until: deadline) != 0 else { throw error }
            }
        }
    }

    /// Sends one message, written by ``ByteWriter``.
    public func send(
        _ kind: UInt8,
        _ body: ByteWriter = ByteWriter(),
        descriptors: [CInt] = [],
        until deadline: Deadline? = nil
    ) throws(Failure) {
        let copy = ScratchBuffer(size: max(body.bytes.count, 1))
        copy.withBytes { $0.copyBytes(from: body.bytes) }
        try copy.withBytes { (bytes) throws(Failure) in
            let used = UnsafeRawBufferPointer(rebasing: bytes[..<body.bytes.count])
            try send(kind, used, descriptors: descriptors, until: deadline)
        }
    }

    /// Sends why something failed, in as many words as one takes over (``Failure/relayedLimit``).
    public func send(_ kind: UInt8, _ failure: Failure) throws(Failure) {
        var text = ByteWriter()
        text.write(failure.description.cut(toBytes: Failure.relayedLimit).utf8)
        try send(kind, text)
    }

    /// Sends a secret in one message.
    public func send(_ kind: UInt8, _ secret: SecretBytes) throws(Failure) {
        try secret.withBytes { (bytes) throws(Failure) in try send(kind, bytes) }
    }

    /// Sends contents of any size as messages of one kind, the last of which is shorter than the others' size.
    public func sendChunks(
        _ kind: UInt8,
        of contents: UnsafeRawBufferPointer,
        until deadline: Deadline? = nil
    ) throws(Failure) {
        let size = Self.chunkSize
        var offset = 0
        while true {
            let end = min(offset + size, contents.count)
            try send(kind, UnsafeRawBufferPointer(rebasing: contents[offset..<end]), until: deadline)
            if end - offset < size { return }
            offset = end
        }
    }

    /// How many bytes of contents one message of ``sendChunks(_:of:until:)`` carries, the last excepted.
    public static let chunkSize = 16 * 1024

    /// Memory for ``receive(into:)``.
    public static func makeBuffer() -> ScratchBuffer { ScratchBuffer(size: messageLimit) }

    /// The same in locked memory, where keys or states come.
    public static func makeSecretBuffer() throws(Failure) -> ScratchBuffer {
        try ScratchBuffer(lockedSize: messageLimit)
    }

    /// Receives one message into a buffer of ``messageLimit`` bytes.
    ///
    /// Returns nothing when the other end is closed. It waits without end; poll first where that matters.
    public func receive(into buffer: ScratchBuffer) throws(Failure) -> Message? {
        precondition(buffer.size >= Self.messageLimit)
        let number = descriptor.number
        var numbers: [CInt] = []
        var truncated = false
        let what = "cannot receive from the \(peer)"
        func receive() throws(Failure) -> Int {
            try systemCall("recvmsg", what) { buffer.withBytes { take(number, $0, &numbers, &truncated) } }
        }
        var count: Int
        do {
            count = try receive()
        } catch let error where error.code == ECONNRESET {
            // The other end was closed with messages of ours unread. That is told once, before what it had sent.
            count = try receive()
        }
        let descriptors = ReceivedDescriptors(numbers)
        guard count > 0 else { return nil }
        guard !truncated else { throw Failure(what, because: "a message is longer than any that it may send") }
        return Message(count: count - 1, descriptors: descriptors, in: buffer)
    }
}

/// The two ends of a new channel.
public struct ChannelPair: Sendable {
    /// The end to keep.
    public let near: Channel
    /// The end to hand to the other process.
    public let far: Channel
}

/// A message that was received; what it says is in the receiver's buffer until the next one is received.
public struct Message: ~Copyable {
    /// What it is.
    public let kind: UInt8
    /// How many bytes it has beside its kind.
    public let count: Int
    /// What came with it.
    public var descriptors: ReceivedDescriptors
    private let buffer: ScratchBuffer

    init(count: Int, descriptors: consuming ReceivedDescriptors, in buffer: ScratchBuffer) {
        self.kind = buffer.withBytes { $0[0] }
        self.count = count
        self.descriptors = descriptors
        self.buffer = buffer
    }

    /// A copy of what it says, for what is no secret.
    public var body: [UInt8] {
        buffer.withBytes { Array($0[1..<1 + count]) }
    }

    /// What it says where it tells of a failure.
    public var failure: Failure { Failure(relayed: body.prefix(Failure.relayedLimit)) }

    /// Appends what it says to a secret; where it does not fit, appends nothing and returns false.
    public func append(to secret: SecretBytes) -> Bool {
        buffer.withBytes { secret.append(copying: UnsafeRawBufferPointer(rebasing: $0[1..<1 + count])) }
    }
}

/// Descriptors that came with a message: those that nobody takes are closed.
public struct ReceivedDescriptors: ~Copyable {
    private var numbers: [CInt]

    init(_ numbers: [CInt]) {
        self.numbers = numbers
    }

    deinit {
        for number in numbers { close(number) }
    }

    /// Takes the next one, in the order in which they were sent.
    public mutating func take() -> Descriptor? {
        numbers.isEmpty ? nil : Descriptor(owning: numbers.removeFirst())
    }
}

private func transmit(
    _ socket: CInt,
    _ kind: UInt8,
    _ body: UnsafeRawBufferPointer,
    _ descriptors: [CInt]
) -> Int {
    var kind = kind
    return withUnsafeMutableBytes(of: &kind) { kindBytes in
        var parts = [
            iovec(iov_base: kindBytes.baseAddress, iov_len: 1),
            iovec(iov_base: UnsafeMutableRawPointer(mutating: body.baseAddress), iov_len: body.count),
        ]
        let size = MemoryLayout<CInt>.stride * descriptors.count
        return parts.withUnsafeMutableBufferPointer { parts in
            withUnsafeTemporaryAllocation(byteCount: max(clinux_cmsg_space(size), 1), alignment: 16) { control in
                var header = msghdr()
                header.msg_iov = parts.baseAddress
                header.msg_iovlen = parts.count
                if !descriptors.isEmpty {
                    control.initializeMemory(as: UInt8.self, repeating: 0)
                    header.msg_control = control.baseAddress
                    header.msg_controllen = control.count
                    if let first = clinux_cmsg_firsthdr(&header) {
                        first.pointee.cmsg_level = SOL_SOCKET
                        first.pointee.cmsg_type = CInt(SCM_RIGHTS)
                        first.pointee.cmsg_len = clinux_cmsg_len(size)
                        descriptors.withUnsafeBytes {
                            if let source = $0.baseAddress { memcpy(clinux_cmsg_data(first), source, size) }
                        }
                    }
                }
                return sendmsg(socket, &header, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
            }
        }
    }
}

private func take(
    _ socket: CInt,
    _ buffer: UnsafeMutableRawBufferPointer,
    _ numbers: inout [CInt],
    _ truncated: inout Bool
) -> Int {
    var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    let room = MemoryLayout<CInt>.stride * Channel.descriptorLimit
    return withUnsafeMutablePointer(to: &part) { part in
        withUnsafeTemporaryAllocation(byteCount: clinux_cmsg_space(room), alignment: 16) { control in
            var header = msghdr()
            header.msg_iov = part
            header.msg_iovlen = 1
            header.msg_control = control.baseAddress
            header.msg_controllen = control.count
            let count = recvmsg(socket, &header, CInt(MSG_CMSG_CLOEXEC))
            guard count >= 0 else { return count }
            truncated = header.msg_flags & (CInt(MSG_TRUNC) | CInt(MSG_CTRUNC)) != 0
            var current = clinux_cmsg_firsthdr(&header)
            while let entry = current {
                if entry.pointee.cmsg_level == SOL_SOCKET, entry.pointee.cmsg_type == CInt(SCM_RIGHTS) {
                    let size = entry.pointee.cmsg_len - clinux_cmsg_len(0)
                    let data = UnsafeRawPointer(clinux_cmsg_data(entry))
                    for index in 0..<size / MemoryLayout<CInt>.stride {
                        guard let data else { break }
                        numbers.append(
                            data.loadUnaligned(fromByteOffset: index * MemoryLayout<CInt>.stride, as: CInt.self)
                        )
                    }
                }
                current = clinux_cmsg_nxthdr(&header, entry)
            }
            return count
        }
    }
}
