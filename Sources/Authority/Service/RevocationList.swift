import CryptoCertificates
import CryptoPrimitives
import Platform
import RuntimeControl

/// The list of the certificates that the authority has revoked. RFC 5280, 5
enum RevocationList {
    /// Makes the list in DER.
    ///
    /// Its number is the time at which it is made: it grows, and is kept nowhere. RFC 5280, 5.2.3
    static func make(_ orders: RevocationOrders, by authority: CertifyingKey) throws(Failure) -> [UInt8] {
        var number = ByteWriter()
        number.write(orders.time)
        return try RevocationListContents(
            thisUpdate: orders.time,
            nextUpdate: orders.nextUpdate,
            entries: orders.revoked.map { .init(serialNumber: $0.serialNumber, time: $0.time) },
            extensions: [
                .init(
                    Identifier.authorityKeyIdentifier,
                    isCritical: false,
                    DER.element(DER.sequence, DER.element(0x80, authority.certificate.subjectKeyID))
                ),
                .init(Identifier.crlNumber, isCritical: false, DER.unsigned(number.bytes)),
            ]
        ).signed(by: authority.key, authority.certificate)
    }
}
