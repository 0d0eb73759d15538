import Platform
import VTPMProxy

/// A TPM that has started up, as its supervisor describes it to the hook: the contents of ``HookReply/ready(_:)``.
public struct StartedTPM: Equatable, Sendable {
    /// The value of a counter in the host's TPM.
    public struct CounterReading: Equatable, Sendable {
        /// What identifies the counter, as the host's index has it.
        public let identity: [UInt8]
        /// The value that belongs to the index.
        public let value: UInt64

        /// The largest identity, in bytes.
        static let identityLimit = 256

        /// Creates a reading.
        public init(identity: [UInt8], value: UInt64) {
            self.identity = identity
            self.value = value
        }
    }

    /// The version of its libtpms.
    public var library: LibraryVersion
    /// How often it was started: the TPM's own word, and so its worker's.
    public var resets: TPMResets
    /// The generation of the state from which it was started; 0 if it is new.
    public var generation: UInt64
    /// The counter that the host's index is bound to; nil if it is bound to none, or if the launch is not measured.
    public var counter: CounterReading?
    /// The host's record of its endorsement: that of an ephemeral TPM, which has no state to be in, and that of a TPM whose
    /// launch is measured; else it is empty.
    public var endorsement: [UInt8]
    /// The event about the instance (``TaggedEvent/instance``); empty if the launch is not measured.
    public var instance: [UInt8]

    /// The largest encoded form, in bytes.
    static let sizeLimit = AuthorityReply.recordLimit + TaggedEvent.instanceLimit + CounterReading.identityLimit + 64

    /// Creates the description of a TPM.
    public init(
        library: LibraryVersion,
        resets: TPMResets = TPMResets(resetCount: 0, restartCount: 0),
        generation: UInt64 = 0,
        counter: CounterReading? = nil,
        endorsement: [UInt8] = [],
        instance: [UInt8] = []
    ) {
        self.library = library
        self.resets = resets
        self.generation = generation
        self.counter = counter
        self.endorsement = endorsement
        self.instance = instance
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(library.number)
        resets.encode(into: &writer)
        writer.write(generation)
        // No counter has an empty identity.
        writer.write(counter?.value ?? 0)
        for part in [counter?.identity ?? [], endorsement, instance] {
            writer.write(UInt16(clamping: part.count))
            writer.write(part)
        }
    }

    /// Reads what ``encode(into:)`` writes; returns nil if it is malformed.
    package init?(_ reader: inout ByteReader) {
        guard let library = reader.read(UInt32.self), let resets = TPMResets(&reader),
            let generation = reader.read(UInt64.self), let value = reader.read(UInt64.self),
            let identity = reader.readPart(limit: CounterReading.identityLimit),
            let endorsement = reader.readPart(limit: AuthorityReply.recordLimit),
            let instance = reader.readPart(limit: TaggedEvent.instanceLimit), value == 0 || !identity.isEmpty
        else { return nil }
        self.init(
            library: LibraryVersion(number: library),
            resets: resets,
            generation: generation,
            counter: identity.isEmpty ? nil : CounterReading(identity: identity, value: value),
            endorsement: endorsement,
            instance: instance
        )
    }
}

extension ByteReader {
    /// Reads a size in 16 bits, at most so many bytes, and the bytes; returns nil if they are not there.
    fileprivate mutating func readPart(limit: Int) -> [UInt8]? {
        guard let size = read(UInt16.self), size <= limit else { return nil }
        return read(count: Int(size))
    }
}
