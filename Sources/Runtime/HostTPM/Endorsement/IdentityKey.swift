import Crypto
import CryptoDigests
import CryptoEndorsement
import CryptoPrimitives
import Platform
import VTPMProxy

/// A key by which others know a TPM: an endorsement key, its initial attestation key or its initial device identity.
///
/// The TPM's seed and a template give the same key each time. ``StandardKey`` has the templates.
package struct IdentityKey: Equatable, Sendable {
    /// A template.
    package enum Kind: String, CaseIterable, Sendable {
        case rsa = "rsa-2048"
        case p256 = "ecc-nist-p256"
        case rsa3072 = "rsa-3072"
        case p384 = "ecc-nist-p384"
        case attestation = "iak"
        case deviceIdentity = "idevid"

        /// The key at its handle.
        package var standard: StandardKey {
            switch self {
            case .rsa: .endorsementRSA
            case .p256: .endorsementP256
            case .rsa3072: .endorsementRSA3072
            case .p384: .endorsementP384
            case .attestation: .attestationP384
            case .deviceIdentity: .deviceIdentityP384
            }
        }

        /// The template with this key; nil if nobody knows a TPM by it.
        package init?(_ key: StandardKey) {
            guard let kind = Kind.allCases.first(where: { $0.standard == key }) else { return nil }
            self = kind
        }

        /// The NV index of the key's certificate.
        ///
        /// TCG EK Credential Profile, 2.2.1.4; the last two are those of swtpm_setup(8), since the TCG names none.
        package var certificateIndex: UInt32 {
            switch self {
            case .rsa: 0x01c0_0002
            case .p256: 0x01c0_000a
            case .rsa3072: 0x01c0_001c
            case .p384: 0x01c0_0016
            case .attestation: 0x01c9_0100
            case .deviceIdentity: 0x01c9_0200
            }
        }

        /// The digest by which the key has its name, and by which what is encrypted to it is protected.
        var hash: DigestAlgorithm { standard.template.nameAlgorithm == KeyTemplate.sha256 ? .sha256 : .sha384 }
    }

    package let kind: Kind
    /// The public area, a TPMT_PUBLIC. TPM 2.0 Library, Part 2, 12.2.4
    package let area: [UInt8]
    /// The public key as a SubjectPublicKeyInfo in DER.
    package let publicKey: [UInt8]
    /// The x coordinate of an ECC key, or an RSA key's modulus.
    let first: [UInt8]

    /// Parses a public area; returns nil if it is none of the template's.
    package init?(_ kind: Kind, decoding area: [UInt8]) {
        let template = kind.standard.template
        let head = template.head
        guard area.starts(with: head) else { return nil }
        var reader = ByteReader(Array(area.dropFirst(head.count)))
        var parts: [[UInt8]] = []
        for _ in 0..<template.partCount {
            guard let part = reader.readSized(), part.count == template.partSize else { return nil }
            parts.append(part)
        }
        guard reader.remaining == 0 else { return nil }
        if template.isRSA {
            guard parts[0][0] & 0x80 != 0, let key = RSAPublicKey(modulus: parts[0], exponent: 65537) else {
                return nil
            }
            publicKey = PublicKeyInfo.rsa(modulus: key.modulus, exponent: key.exponent)
        } else {
            guard let info = PublicKeyInfo.ecc(x: parts[0], y: parts[1]) else { return nil }
            publicKey = info
        }
        self.kind = kind
        self.area = area
        first = parts[0]
    }

    /// The TPM's own name of the key: an algorithm, and the digest of the public area. Part 1, 16
    package var name: [UInt8] {
        get throws(Failure) {
            var name = ByteWriter()
            name.write(kind.standard.template.nameAlgorithm)
            name.write(try kind.hash.digest(area))
            return name.bytes
        }
    }

    /// Has a TPM create its endorsement keys of these, of which nothing stays in it.
    package static func all(_ kinds: [Kind], of transport: any TPMTransport) throws(Failure) -> [IdentityKey] {
        let connection = HostTPM(transport: transport).link("cannot read the TPM's identity")
        var keys: [IdentityKey] = []
        for kind in kinds {
            let (created, key) = try connection.createIdentityKey(kind)
            connection.flush(created.handle)
            keys.append(key)
        }
        return keys
    }
}

extension TPMConnection {
    /// Has the TPM create a key; returns the response, with its transient handle, and the key.
    ///
    /// The response's parameters after the public area say how the key was created.
    func createIdentityKey(
        _ kind: IdentityKey.Kind
    ) throws(Failure) -> (response: Response, key: IdentityKey) {
        var created = try run(.createPrimary(in: Handle.endorsement, from: kind.standard.template.bytes))
        guard Handle.type(of: created.handle) == Handle.transientType else { throw malformed(.createPrimary) }
        guard let area = created.parameters.readSized(), let key = IdentityKey(kind, decoding: area) else {
            flush(created.handle)
            throw malformed(.createPrimary)
        }
        return (created, key)
    }
}
