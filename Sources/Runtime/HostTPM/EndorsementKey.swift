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
    }

    package let kind: Kind
    /// The public key as a SubjectPublicKeyInfo in DER.
    package let publicKey: [UInt8]

    /// Has a TPM create its keys, of which nothing stays in it.
    package static func all(of transport: any TPMTransport) throws(Failure) -> [EndorsementKey] {
        let connection = HostTPM(transport: transport).link("cannot read the TPM's identity")
        var keys: [EndorsementKey] = []
        for kind in Kind.allCases { keys.append(try connection.endorsementKey(kind)) }
        return keys
    }
}

extension EndorsementKey.Kind {
    fileprivate var key: StandardKey { self == .rsa ? .endorsementRSA : .endorsementP256 }

    /// Returns the SubjectPublicKeyInfo of a key with this public area; nil if it is none of the template's.
    fileprivate func publicKey(of area: [UInt8]) -> [UInt8]? {
        let head = key.head
        guard area.starts(with: head) else { return nil }
        var reader = ByteReader(Array(area.dropFirst(head.count)))
        var parts: [[UInt8]] = []
        for _ in 0..<key.partCount {
            guard let part = reader.readSized(), part.count == key.partSize else { return nil }
            parts.append(part)
        }
        guard reader.remaining == 0 else { return nil }
        return switch self {
        case .rsa: PublicKeyInfo.rsa(modulus: parts[0], exponent: 65537)
        case .p256: P256Point(x: parts[0], y: parts[1]).map(PublicKeyInfo.p256)
        }
    }
}

extension TPMConnection {
    fileprivate func endorsementKey(_ kind: EndorsementKey.Kind) throws(Failure) -> EndorsementKey {
        let created = try run(.createPrimary(in: Handle.endorsement, from: kind.key.template))
        return try withObject(created, madeBy: .createPrimary) { (_) throws(Failure) in
            var parameters = created.parameters
            // What follows says how the key was created.
            guard let area = parameters.readSized(), let publicKey = kind.publicKey(of: area) else {
                throw malformed(.createPrimary)
            }
            return EndorsementKey(kind: kind, publicKey: publicKey)
        }
    }
}
