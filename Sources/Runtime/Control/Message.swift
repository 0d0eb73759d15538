import Glibc
import Platform

/// A message of a protocol between two of our processes.
///
/// On the wire it is its kind, one byte, and what it says. A secret that goes with it follows as it is, and is neither
/// encoded nor decoded here, so that no copy of it is left.
public protocol ChannelMessage: Sendable {
    /// The numbers of the protocol's messages.
    associatedtype Kind: RawRepresentable<UInt8>
    /// The most that one of them says, in bytes, secrets excepted.
    static var maximumSize: Int { get }
    /// What it is.
    var kind: Kind { get }
    /// Writes what it says.
    func encode(into writer: inout ByteWriter)
    /// Reads what a message of this kind says; returns nil if that makes no sense.
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
    /// Writes it as a message's contents: its first ``relayedLimit`` bytes.
    func encode(into writer: inout ByteWriter) {
        writer.write(description.cut(toBytes: Self.relayedLimit).utf8)
    }
}

/// A message that was received; what it says is in the receiver's buffer until the next one is received.
public struct Message: ~Copyable {
    /// What it is, as a number of the protocol's own.
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
