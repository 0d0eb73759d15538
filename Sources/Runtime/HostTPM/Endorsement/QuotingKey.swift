import Crypto
import CryptoDigests
import CryptoEndorsement
import CryptoPrimitives
import Platform
import VTPMProxy

/// The key by which a TPM will quote for proofs: a primary key of the endorsement hierarchy that signs what the TPM says, and
/// nothing else.
///
/// Its template is that of any attestation key with ECDSA, NIST P-256 and SHA-256: tpm2_createprimary(1) makes the same key. The
/// TCG's template for an initial attestation key would not do: that key is administered by a policy that nobody can satisfy, and
/// so TPM2_ActivateCredential cannot show that it is in the same TPM as the endorsement key.
package struct QuotingKey: Equatable, Sendable {
    /// The public area, a TPMT_PUBLIC. TPM 2.0 Library, Part 2, 12.2.4
    package let area: [UInt8]
    private let point: P256Point

    private static let attributes: ObjectAttributes = [
        .fixedTPM, .fixedParent, .sensitiveDataOrigin, .userWithAuth, .noDA, .restricted, .sign,
    ]

    /// The template up to the public key itself, with which the public area of the key begins as well.
    private static var head: [UInt8] {
        var area = ByteWriter()
        area.write(Algorithm.ecc)
        area.write(Algorithm.sha256)
        area.write(attributes.rawValue)
        area.write(sized: [])
        // No symmetric algorithm; the scheme with its hash; the curve; no key derivation.
        for value in [Algorithm.null, Algorithm.ecdsa, Algorithm.sha256, Algorithm.p256, Algorithm.null] {
            area.write(value)
        }
        return area.bytes
    }

    static var template: [UInt8] {
        var area = ByteWriter()
        area.write(head)
        for _ in 0..<2 { area.write(sized: []) }
        return area.bytes
    }

    /// Parses a public area; returns nil if it is none of the template's.
    package init?(decoding area: [UInt8]) {
        guard area.starts(with: Self.head) else { return nil }
        var reader = ByteReader(Array(area.dropFirst(Self.head.count)))
        guard let x = reader.readSized(), let y = reader.readSized(), reader.remaining == 0,
            let point = P256Point(x: x, y: y)
        else { return nil }
        self.area = area
        self.point = point
    }

    /// The public key as a SubjectPublicKeyInfo in DER.
    package var publicKey: [UInt8] { PublicKeyInfo.p256(point) }

    /// The name: an algorithm, and the SHA-256 of the public area. Part 1, 16
    package var name: [UInt8] {
        get throws(Failure) { try entityName(ofPublicArea: area) }
    }
}

extension EndorsedTPM {
    /// Has the TPM make its quoting key, of which nothing stays in it.
    ///
    /// Returns nil if the TPM that has it is not the one that has the endorsement key.
    package func quotingKey(besides loaded: LoadedKey) throws(Failure) -> QuotingKey? {
        let created = try connection.run(.createPrimary(in: Handle.endorsement, from: QuotingKey.template))
        return try connection.withObject(created, madeBy: .createPrimary) { (handle) throws(Failure) in
            var parameters = created.parameters
            guard let area = parameters.readSized(), let key = QuotingKey(decoding: area) else {
                throw connection.malformed(.createPrimary)
            }
            let signer = Signer(handle: handle, publicKey: key.publicKey, hash: .sha256)
            guard try opensCredential(of: loaded, for: handle, named: key.name),
                try signs(signer, for: handle, named: key.name)
            else { return nil }
            return key
        }
    }
}
