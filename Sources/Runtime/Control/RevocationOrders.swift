import Platform

/// A certificate that is not to be trusted any more.
public struct RevokedCertificate: Equatable, Sendable {
    /// The serial number, big-endian: 1 to 20 bytes.
    public let serialNumber: [UInt8]
    /// The UUID of the TPM whose certificate it is, 16 bytes; zeros if it is not known.
    public let instance: [UInt8]
    /// When it was revoked, in seconds since 1970.
    public let time: UInt64

    /// The longest serial number, in bytes. RFC 5280, 4.1.2.2
    public static let serialLimit = 20
    /// The most certificates of one authority that can be revoked.
    public static let countLimit = 10_000
    /// The most that one message has.
    public static let messageLimit = 500
    /// The size of an instance's UUID, in bytes.
    public static let instanceSize = 16

    /// Creates a description; returns nil if the number's size is not allowed.
    public init?(serialNumber: [UInt8], of instance: [UInt8]? = nil, time: UInt64) {
        let instance = instance ?? [UInt8](repeating: 0, count: Self.instanceSize)
        guard (1...Self.serialLimit).contains(serialNumber.count), instance.count == Self.instanceSize else {
            return nil
        }
        self.serialNumber = serialNumber
        self.instance = instance
        self.time = time
    }

    /// Writes a list: the number in 16 bits, and for each the size in 8 bits, the serial number, the
    /// instance, the time in 64 bits.
    public static func encode(_ list: [RevokedCertificate], into writer: inout ByteWriter) {
        writer.write(UInt16(clamping: list.count))
        for certificate in list {
            writer.write(UInt8(clamping: certificate.serialNumber.count))
            writer.write(certificate.serialNumber)
            writer.write(certificate.instance)
            writer.write(certificate.time)
        }
    }

    /// Reads a list; returns nil if it is malformed, or has more than `limit`.
    public static func list(_ reader: inout ByteReader, limit: Int = countLimit) -> [RevokedCertificate]? {
        guard let count = reader.read(UInt16.self), count <= limit else { return nil }
        var list: [RevokedCertificate] = []
        for _ in 0..<count {
            guard let size = reader.read(UInt8.self), let serialNumber = reader.read(count: Int(size)),
                let instance = reader.read(count: instanceSize), let time = reader.read(UInt64.self),
                let certificate = RevokedCertificate(
                    serialNumber: Array(serialNumber),
                    of: Array(instance),
                    time: time
                )
            else { return nil }
            list.append(certificate)
        }
        return list
    }
}

/// What the certificate authority is told of a list of revoked certificates.
public struct RevocationOrders: Equatable, Sendable {
    /// The time, in seconds since 1970.
    public var time: UInt64
    /// When verifiers ask for another list, in seconds since 1970.
    public var nextUpdate: UInt64
    /// The authority's certificate in DER.
    public var certificate: [UInt8]

    /// Creates orders.
    public init(time: UInt64, nextUpdate: UInt64, certificate: [UInt8]) {
        self.time = time
        self.nextUpdate = nextUpdate
        self.certificate = certificate
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(time)
        writer.write(nextUpdate)
        writer.write(UInt16(clamping: certificate.count))
        writer.write(certificate)
    }

    init?(_ reader: inout ByteReader) {
        guard let time = reader.read(UInt64.self), let nextUpdate = reader.read(UInt64.self),
            let size = reader.read(UInt16.self), let certificate = reader.read(count: Int(size))
        else { return nil }
        self.init(time: time, nextUpdate: nextUpdate, certificate: Array(certificate))
    }
}
