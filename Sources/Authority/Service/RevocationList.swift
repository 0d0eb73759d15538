import CryptoCertificates
import CryptoPrimitives
import Platform
import RuntimeControl

/// The list of the certificates that the authority has revoked. RFC 5280, 5
enum RevocationList {
    /// Makes the list in DER.
    ///
    /// Its number is how many certificates are revoked, and then the time: it grows with each that is revoked, also where the
    /// clock was set back, and is kept nowhere. RFC 5280, 5.2.3
    static func make(_ orders: RevocationOrders, by authority: CertifyingKey) throws(Failure) -> [UInt8] {
        guard case .here(let key) = authority.place else {
            throw Failure("cannot list revoked certificates", because: "the key is not here")
        }
        var number = ByteWriter()
        number.write(UInt64(authority.revoked.count) << 40 | orders.time & (1 << 40 - 1))
        return try RevocationListContents(
            thisUpdate: orders.time,
            nextUpdate: orders.nextUpdate,
            entries: authority.revoked.map { .init(serialNumber: $0.serialNumber, time: $0.time) },
            extensions: [
                .init(
                    Identifier.authorityKeyIdentifier,
                    isCritical: false,
                    DER.element(DER.sequence, DER.element(0x80, authority.certificate.subjectKeyID))
                ),
                .init(Identifier.crlNumber, isCritical: false, DER.unsigned(number.bytes)),
            ]
        ).signed(by: key, authority.certificate)
    }
}
