import Crypto
import Platform
import VTPMProxy

/// An endorsement key, by which others know a TPM: its seed and a template give the same key each time.
///
/// ``StandardKey`` has the templates, which tpm2_createek(1) takes too.
package struct EndorsementKey: Equatable, Sendable {
    /// A template.
    package enum Kind: String, CaseIterable, Sendable {
        case rsa = "rsa-2048"
        case p256 = "ecc-nist-p256"

        /// The key at its handle.
        package var standard: StandardKey { self == .rsa ? .endorsementRSA : .endorsementP256 }

        /// The NV index of the key's certificate. TCG EK Credential Profile, 2.2.1.4
        package var certificateIndex: UInt32 { self == .rsa ? 0x01c0_0002 : 0x01c0_000a }
    }

    package let kind: Kind
    /// The public area, a TPMT_PUBLIC. TPM 2.0 Library, Part 2, 12.2.4
    package let area: [UInt8]
    /// The public key.
    let point: StorageKey.Point

    /// The public key as a SubjectPublicKeyInfo in DER.
    package var publicKey: [UInt8] {
        switch point {
        case .rsa(let key): PublicKeyInfo.rsa(modulus: key.modulus, exponent: key.exponent)
        case .p256(let point): PublicKeyInfo.p256(point)
        }
    }

    /// Parses a public area; returns nil if it is none of the template's.
    package init?(_ kind: Kind, decoding area: [UInt8]) {
        let key = kind.standard
        guard area.starts(with: key.head) else { return nil }
        var reader = ByteReader(Array(area.dropFirst(key.head.count)))
        var parts: [[UInt8]] = []
        for _ in 0..<key.partCount {
            guard let part = reader.readSized(), part.count == key.partSize else { return nil }
            parts.append(part)
        }
        guard reader.remaining == 0 else { return nil }
        switch kind {
        case .rsa:
            guard parts[0][0] & 0x80 != 0, let key = RSAPublicKey(modulus: parts[0], exponent: 65537) else {
                return nil
            }
            point = .rsa(key)
        case .p256:
            guard let key = P256Point(x: parts[0], y: parts[1]) else { return nil }
            point = .p256(key)
        }
        self.kind = kind
        self.area = area
    }

    /// Has a TPM create its keys, of which nothing stays in it.
    package static func all(of transport: any TPMTransport) throws(Failure) -> [EndorsementKey] {
        let connection = HostTPM(transport: transport).link("cannot read the TPM's identity")
        var keys: [EndorsementKey] = []
        for kind in Kind.allCases {
            let (created, key) = try connection.createEndorsementKey(kind)
            connection.flush(created)
            keys.append(key)
        }
        return keys
    }
}

extension TPMConnection {
    /// Has the TPM create a key; returns its transient handle and the key.
    func createEndorsementKey(
        _ kind: EndorsementKey.Kind
    ) throws(Failure) -> (handle: UInt32, key: EndorsementKey) {
        var created = try run(.createPrimary(in: Handle.endorsement, from: kind.standard.template))
        guard Handle.type(of: created.handle) == Handle.transientType else { throw malformed(.createPrimary) }
        // What follows says how the key was created.
        guard let area = created.parameters.readSized(), let key = EndorsementKey(kind, decoding: area) else {
            flush(created.handle)
            throw malformed(.createPrimary)
        }
        return (created.handle, key)
    }
}
