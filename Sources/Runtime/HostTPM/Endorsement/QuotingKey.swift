import Crypto
import CryptoDigests
import CryptoEndorsement
import CryptoPrimitives
import Platform
import VTPMProxy

/// A key by which a TPM quotes: it signs what the TPM says, and nothing else.
///
/// A container's TPM has it as a primary key of the endorsement hierarchy. Its template is that of any attestation key with ECDSA, NIST
/// P-256 and SHA-256: tpm2_createprimary(1) makes the same key. The TCG's template for an initial attestation key would not do: that
/// key is administered by a policy that nobody can satisfy, and so TPM2_ActivateCredential cannot show that it is in the same TPM as
/// the endorsement key. A host's key can be an RSA key as well, for verifiers that take no other.
package struct QuotingKey: Equatable, Sendable {
    /// What the key signs with; the digest is SHA-256.
    package enum Kind: String, CaseIterable, Sendable {
        /// ECDSA on NIST P-256.
        case p256 = "ecc-nist-p256"
        /// RSASSA-PKCS1-v1_5 with 2048 bits.
        case rsa2048 = "rsa-2048"
    }

    package let kind: Kind
    /// The public area, a TPMT_PUBLIC. TPM 2.0 Library, Part 2, 12.2.4
    package let area: [UInt8]
    /// The public key as a SubjectPublicKeyInfo.
    package let publicKey: [UInt8]

    private static let attributes: ObjectAttributes = [
        .fixedTPM, .fixedParent, .sensitiveDataOrigin, .userWithAuth, .noDA, .restricted, .sign,
    ]
    private static let (rsaBits, modulusSize): (UInt16, Int) = (2048, 256)

    /// The template up to the public key itself, with which the public area of the key begins as well.
    private static func head(_ kind: Kind) -> [UInt8] {
        var area = ByteWriter()
        area.write(kind == .p256 ? Algorithm.ecc : Algorithm.rsa)
        area.write(Algorithm.sha256)
        area.write(attributes.rawValue)
        area.write(sized: [])
        // No symmetric algorithm; the scheme with its hash.
        area.write(Algorithm.null)
        switch kind {
        case .p256:
            // The curve; no key derivation.
            for value in [Algorithm.ecdsa, Algorithm.sha256, Algorithm.p256, Algorithm.null] { area.write(value) }
        case .rsa2048:
            for value in [Algorithm.rsassa, Algorithm.sha256, rsaBits] { area.write(value) }
            // The default exponent. Part 2, 12.2.3.5
            area.write(UInt32(0))
        }
        return area.bytes
    }

    /// The template of the key of a container's TPM.
    static var template: [UInt8] { template(.p256) }

    static func template(_ kind: Kind) -> [UInt8] {
        var area = ByteWriter()
        area.write(head(kind))
        for _ in 0..<(kind == .p256 ? 2 : 1) { area.write(sized: []) }
        return area.bytes
    }

    /// Parses a public area; returns nil if it is none of the templates'.
    package init?(decoding area: [UInt8]) {
        guard let kind = Kind.allCases.first(where: { area.starts(with: Self.head($0)) }) else { return nil }
        var reader = ByteReader(Array(area.dropFirst(Self.head(kind).count)))
        switch kind {
        case .p256:
            guard let x = reader.readSized(), let y = reader.readSized(), let point = P256Point(x: x, y: y) else {
                return nil
            }
            publicKey = PublicKeyInfo.p256(point)
        case .rsa2048:
            guard let modulus = reader.readSized(), modulus.count == Self.modulusSize, modulus[0] & 0x80 != 0,
                let key = RSAPublicKey(modulus: modulus, exponent: 65537)
            else { return nil }
            publicKey = PublicKeyInfo.rsa(modulus: key.modulus, exponent: key.exponent)
        }
        guard reader.remaining == 0 else { return nil }
        self.kind = kind
        self.area = area
    }

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
            guard let area = parameters.readSized(), let key = QuotingKey(decoding: area), key.kind == .p256 else {
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
