import CryptoDigests
import JSONText
import Platform
import RuntimeControl
import VTPMProxy

/// The event log of a launch: what the host has measured into a TPM before its container's first instruction.
///
/// It has the crypto agile format, so that tpm2_eventlog(1) and each verifier of boots can replay it. TCG PC Client Platform
/// Firmware Profile, 10
public struct LaunchLog: Equatable, Sendable {
    /// The event about what runs.
    public let launch: [UInt8]
    /// The event about the instance.
    public let instance: [UInt8]

    /// Creates the log of a launch with these events.
    public init(launch: [UInt8], instance: [UInt8]) {
        self.launch = launch
        self.instance = instance
    }

    /// What is extended into a PCR.
    public struct Event: Equatable, Sendable {
        /// The PCR's number.
        public let pcr: UInt32
        /// The digests, in the order of ``DigestAlgorithm/allCases``.
        public let digests: [[UInt8]]
        /// What the digests are of.
        let data: [UInt8]
    }

    /// EV_NO_ACTION, and EV_EVENT_TAG, whose digest is of all of its data. 10.4.1
    private static let (noAction, eventTag): (UInt32, UInt32) = (3, 6)

    /// The events in their order.
    public func events() throws(Failure) -> [Event] {
        let digests = try Self.digests(of: launch)
        let instanceDigests = try Self.digests(of: instance)
        return [
            Event(pcr: LaunchPCR.launch, digests: digests, data: launch),
            Event(pcr: LaunchPCR.launchCopy, digests: digests, data: launch),
            Event(pcr: LaunchPCR.instance, digests: instanceDigests, data: instance),
            Event(pcr: LaunchPCR.instanceCopy, digests: instanceDigests, data: instance),
        ]
    }

    private static func digests(of event: [UInt8]) throws(Failure) -> [[UInt8]] {
        var digests: [[UInt8]] = []
        for algorithm in DigestAlgorithm.allCases { digests.append(try algorithm.digest(event)) }
        return digests
    }

    /// The file's contents.
    ///
    /// All numbers have the least significant byte first.
    public func encoded() throws(Failure) -> [UInt8] {
        var log = LittleEndianWriter()
        Self.writeHeader(to: &log)
        for event in try events() {
            log.write(event.pcr)
            log.write(Self.eventTag)
            log.write(UInt32(event.digests.count))
            for (algorithm, digest) in zip(DigestAlgorithm.allCases, event.digests) {
                log.write(algorithm.rawValue)
                log.bytes += digest
            }
            log.write(UInt32(event.data.count))
            log.bytes += event.data
        }
        return log.bytes
    }

    /// The first event, in the older format: which digests the others have. TCG_EfiSpecIDEvent, 10.4.5.1
    private static func writeHeader(to log: inout LittleEndianWriter) {
        var event = LittleEndianWriter()
        event.bytes += Array("Spec ID Event03".utf8) + [0]
        // The platform's class, the version 2.0, no errata, numbers of 64 bits.
        event.write(UInt32(0))
        event.bytes += [0, 2, 0, 2]
        event.write(UInt32(DigestAlgorithm.allCases.count))
        for algorithm in DigestAlgorithm.allCases {
            event.write(algorithm.rawValue)
            event.write(UInt16(algorithm.size))
        }
        // Nothing of the vendor's.
        event.bytes.append(0)
        log.write(UInt32(0))
        log.write(noAction)
        log.bytes += [UInt8](repeating: 0, count: 20)
        log.write(UInt32(event.bytes.count))
        log.bytes += event.bytes
    }

    /// Reads the log that ``encoded()`` has written.
    ///
    /// - Throws: ``Failure`` if it is any other, if only by one byte.
    public init(reading bytes: [UInt8], _ path: String) throws(Failure) {
        let refusal = Failure("cannot read \(path)", because: "it is no launch log of this project's")
        guard let launch = Self.data(in: bytes, ofEventAt: Self.headerSize),
            TaggedEvent.launch.statement(in: launch) != nil
        else { throw refusal }
        // The events about what runs are two.
        let second = Self.headerSize + 2 * (Self.eventSize + launch.count)
        guard let instance = Self.data(in: bytes, ofEventAt: second),
            TaggedEvent.instance.statement(in: instance) != nil
        else { throw refusal }
        self.init(launch: launch, instance: instance)
        guard try encoded() == bytes else { throw refusal }
    }

    private static let headerSize: Int = {
        var log = LittleEndianWriter()
        writeHeader(to: &log)
        return log.bytes.count
    }()

    /// The size of an event without its data: PCR, type, the digests and their number, the data's size.
    private static let eventSize = 16 + DigestAlgorithm.allCases.reduce(0) { $0 + 2 + $1.size }

    private static func data(in log: [UInt8], ofEventAt offset: Int) -> [UInt8]? {
        let end = offset + eventSize
        guard offset >= 0, end <= log.count else { return nil }
        let size = (0..<4).reduce(0) { $0 | Int(log[end - 4 + $1]) << (8 * $1) }
        guard size <= TaggedEvent.sizeLimit, end + size <= log.count else { return nil }
        return Array(log[end..<end + size])
    }
}

extension LaunchLog {
    /// The statement about what runs.
    public var launchStatement: [UInt8] { Array(launch.dropFirst(TaggedEvent.headerSize)) }
    /// The statement about the instance.
    public var instanceStatement: [UInt8] { Array(instance.dropFirst(TaggedEvent.headerSize)) }

    /// The instance's UUID; empty for an ephemeral TPM.
    public func instanceUUID() throws(Failure) -> String {
        let text = try JSONText(
            parsing: instanceStatement,
            path: "the statement about the instance",
            limit: TaggedEvent.instanceLimit
        )
        return text.root["instance"]?.string ?? ""
    }

    /// The value of a PCR after one event, from zero. TPM 2.0 Library, Part 1, 17.2
    public static func value(
        after event: [UInt8],
        _ algorithm: DigestAlgorithm
    ) throws(Failure) -> [UInt8] {
        try algorithm.digest([UInt8](repeating: 0, count: algorithm.size) + algorithm.digest(event))
    }
}

/// Bytes with numbers whose least significant byte comes first.
package struct LittleEndianWriter {
    package var bytes: [UInt8] = []

    package init() {}

    package mutating func write(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }
}
