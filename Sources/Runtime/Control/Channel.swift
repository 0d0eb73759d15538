import CLinux
import Glibc
import Platform

/// One end of a pair of connected sockets that carry whole messages, and descriptors with them.
///
/// unix(7), SOCK_SEQPACKET and SCM_RIGHTS. The first byte of a message is its kind, a number that the protocol defines.
public final class Channel: Sendable {
    /// The socket.
    public let descriptor: Descriptor
    /// The name of the process at the other end, for errors.
    public let peer: String

    /// The largest message, in bytes.
    ///
    /// Larger contents are sent in several messages (``sendChunks(_:of:until:)``). The kernel needs the memory for a
    /// message in few pieces, and a TPM's write must not fail because memory is fragmented.
    public static let messageLimit = 32 * 1024
    /// The largest number of descriptors in one message.
    public static let descriptorLimit = 5

    /// Takes ownership of a connected socket.
    public init(owning descriptor: consuming Descriptor, peer: String) {
        self.descriptor = descriptor
        self.peer = peer
    }

    /// Creates two connected ends, with close-on-exec.
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

    /// Sends one message as bytes, as ``send(_:descriptors:until:)`` does.
    package func send(
        kind: UInt8,
        _ body: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
        descriptors: [CInt] = [],
        until deadline: Deadline? = nil
    ) throws(Failure) {
        guard body.count < Self.messageLimit, descriptors.count <= Self.descriptorLimit else {
            throw tooLong(body.count + 1, most: Self.messageLimit)
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

    /// Sends one message of a protocol.
    ///
    /// If there is no room, it waits until the deadline; without a deadline, it does not wait at all.
    ///
    /// - Throws: ``Failure`` with EMSGSIZE if the message is larger than its protocol allows; then nothing was sent.
    public func send<Outgoing: ChannelMessage>(
        _ message: Outgoing,
        descriptors: [CInt] = [],
        until deadline: Deadline? = nil
    ) throws(Failure) {
        var writer = ByteWriter()
        message.encode(into: &writer)
        guard writer.bytes.count <= Outgoing.maximumSize else {
            throw tooLong(writer.bytes.count, most: Outgoing.maximumSize)
        }
        try send(message, followedBy: writer.bytes, descriptors: descriptors, until: deadline)
    }

    /// Sends one message of a protocol whose contents are not encoded by it, and are no secret.
    public func send(
        _ message: some ChannelMessage,
        followedBy contents: [UInt8],
        descriptors: [CInt] = [],
        until deadline: Deadline? = nil
    ) throws(Failure) {
        let copy = ScratchBuffer(size: max(contents.count, 1))
        copy.write { memory in
            memory.copyBytes(from: contents)
            return contents.count
        }
        try copy.withBytes { (bytes) throws(Failure) in
            let contents = UnsafeRawBufferPointer(bytes)
            try send(kind: message.kind.rawValue, contents, descriptors: descriptors, until: deadline)
        }
    }

    /// Sends one message, followed by a secret.
    public func send(
        _ message: some ChannelMessage,
        _ secret: SecretBytes,
        until deadline: Deadline? = nil
    ) throws(Failure) {
        try secret.withBytes { (bytes) throws(Failure) in
            try send(kind: message.kind.rawValue, bytes, until: deadline)
        }
    }

    /// Sends contents of any size as messages of one kind.
    ///
    /// The last message has less than ``chunkSize`` bytes of contents, which shows the end.
    public func sendChunks(
        _ message: some ChannelMessage,
        of contents: UnsafeRawBufferPointer,
        until deadline: Deadline? = nil
    ) throws(Failure) {
        let size = Self.chunkSize
        var offset = 0
        while true {
            let end = min(offset + size, contents.count)
            let chunk = UnsafeRawBufferPointer(rebasing: contents[offset..<end])
            try send(kind: message.kind.rawValue, chunk, until: deadline)
            if end - offset < size { return }
            offset = end
        }
    }

    /// Sends contents of any size that are no secret, as ``sendChunks(_:of:until:)`` does.
    public func sendChunks(
        _ message: some ChannelMessage,
        of contents: [UInt8],
        until deadline: Deadline? = nil
    ) throws(Failure) {
        var offset = 0
        while true {
            let end = min(offset + Self.chunkSize, contents.count)
            try send(message, followedBy: Array(contents[offset..<end]), until: deadline)
            if end - offset < Self.chunkSize { return }
            offset = end
        }
    }

    private func tooLong(_ size: Int, most: Int) -> Failure {
        Failure(
            "cannot send to the \(peer)",
            because: "the message has \(size) bytes, and \(most) are the most",
            code: EMSGSIZE
        )
    }

    /// The contents of each message of ``sendChunks(_:of:until:)`` but the last, in bytes.
    public static let chunkSize = 16 * 1024

    /// Returns memory for ``receive(into:)``.
    public static func makeBuffer() -> ScratchBuffer { ScratchBuffer(size: messageLimit) }

    /// Returns locked memory for ``receive(into:)``, for messages with keys or states.
    public static func makeSecretBuffer() throws(Failure) -> ScratchBuffer {
        try ScratchBuffer(lockedSize: messageLimit)
    }

    /// Receives one message into a buffer of ``messageLimit`` bytes.
    ///
    /// Returns nil if the other end is closed. It waits without limit; if that matters, poll first.
    public func receive(into buffer: ScratchBuffer) throws(Failure) -> Message? {
        precondition(buffer.size >= Self.messageLimit)
        let number = descriptor.number
        var numbers: [CInt] = []
        var truncated = false
        let what = "cannot receive from the \(peer)"
        func receive() throws(Failure) -> Int {
            try systemCall("recvmsg", what) { buffer.write { take(number, $0, &numbers, &truncated) } }
        }
        var count: Int
        do {
            count = try receive()
        } catch let error where error.code == ECONNRESET {
            // The other end was closed before it had read all messages. The kernel reports that once, before what the
            // other end had sent.
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
