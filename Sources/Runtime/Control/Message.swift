import Glibc
import Platform

/// A message of a protocol between two of our processes.
///
/// On the wire, it is one byte for its kind and then its contents. A secret may follow, which is neither encoded nor
/// decoded here, so that no copy of it is left.
public protocol ChannelMessage: Sendable {
    /// The numbers of the protocol's messages.
    associatedtype Kind: RawRepresentable<UInt8>
    /// The largest contents of one of them, in bytes, without secrets.
    static var maximumSize: Int { get }
    /// The kind of the message.
    var kind: Kind { get }
    /// Writes the contents.
    func encode(into writer: inout ByteWriter)
    /// Reads the contents of a message of this kind; returns nil if they are malformed.
    init?(_ kind: Kind, _ contents: borrowing Message)
}

extension ChannelMessage {
    /// Reads a message that was received; returns nil if it is none of the protocol's.
    public init?(_ message: borrowing Message) {
        guard let kind = Kind(rawValue: message.kind) else { return nil }
        self.init(kind, message)
    }
}

extension Failure {
    /// Writes the contents of a message: the first ``relayedLimit`` bytes of the description.
    package func encode(into writer: inout ByteWriter) {
        writer.write(description.cut(toBytes: Self.relayedLimit).utf8)
    }
}

/// A message that was received, with its contents in the receiver's buffer until the next one is received.
public struct Message: ~Copyable {
    /// The kind of the message, a number that its protocol defines.
    public let kind: UInt8
    /// The size of the contents, in bytes.
    public let count: Int
    /// The descriptors that came with it.
    public var descriptors: ReceivedDescriptors
    private let buffer: ScratchBuffer

    init(count: Int, descriptors: consuming ReceivedDescriptors, in buffer: ScratchBuffer) {
        self.kind = buffer.withBytes { $0[0] }
        self.count = count
        self.descriptors = descriptors
        self.buffer = buffer
    }

    /// A copy of the contents, for those that are no secret.
    public var body: [UInt8] {
        buffer.withBytes { Array($0[1..<1 + count]) }
    }

    /// The failure that the contents describe.
    public var failure: Failure { Failure(relayed: body.prefix(Failure.relayedLimit)) }

    /// Appends the contents to a secret; if they do not fit, appends nothing and returns false.
    public func append(to secret: SecretBytes) -> Bool {
        buffer.withBytes { secret.append(copying: UnsafeRawBufferPointer(rebasing: $0[1..<1 + count])) }
    }
}

/// The descriptors that came with a message; those that nobody takes are closed.
public struct ReceivedDescriptors: ~Copyable {
    private var numbers: [CInt]

    init(_ numbers: [CInt]) {
        self.numbers = numbers
    }

    deinit {
        for number in numbers { close(number) }
    }

    /// Takes the next one, in the order in which they were sent; returns nil if there is none.
    public mutating func take() -> Descriptor? {
        numbers.isEmpty ? nil : Descriptor(owning: numbers.removeFirst())
    }
}
