import Crypto
import Platform

/// An endorsement key, by which others know a TPM: its seed and a template give the same key each time.
///
/// TCG EK Credential Profile for TPM Family 2.0, B.3: the templates L-1 and L-2, which tpm2_createek(1) takes too.
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
    private static let attributes: ObjectAttributes = [
        .fixedTPM, .fixedParent, .sensitiveDataOrigin, .adminWithPolicy, .restricted, .decrypt,
    ]
    /// PolicyA with SHA-256: TPM2_PolicySecret with the endorsement hierarchy.
    private static let policy: [UInt8] = [
        0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
        0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
    ]

    /// The template up to the public key itself, with which the public area of the key begins as well.
    fileprivate var head: [UInt8] {
        var area = ByteWriter()
        area.write(self == .rsa ? Algorithm.rsa : Algorithm.ecc)
        area.write(Algorithm.sha256)
        area.write(Self.attributes.rawValue)
        area.write(sized: Self.policy)
        for value in [Algorithm.aes, 128, Algorithm.cfb, Algorithm.null] { area.write(value) }
        switch self {
        case .rsa:
            area.write(UInt16(2048))
            // Zero stands for the default exponent.
            area.write(UInt32(0))
        case .p256: for value in [Algorithm.p256, Algorithm.null] { area.write(value) }
        }
        return area.bytes
    }

    /// The sizes of the parts of the public key, in bytes: the modulus, or the coordinates.
    private var sizes: [Int] {
        self == .rsa ? [256] : [P256Point.coordinateSize, P256Point.coordinateSize]
    }

    /// TPMT_PUBLIC. TPM 2.0 Library, Part 2, 12.2.4
    fileprivate var template: [UInt8] {
        var area = ByteWriter()
        area.write(head)
        for size in sizes { area.write(sized: [UInt8](repeating: 0, count: size)) }
        return area.bytes
    }

    /// Returns the SubjectPublicKeyInfo of a key with this public area; nil if it is none of the template's.
    fileprivate func publicKey(of area: [UInt8]) -> [UInt8]? {
        guard area.starts(with: head) else { return nil }
        var reader = ByteReader(Array(area.dropFirst(head.count)))
        var parts: [[UInt8]] = []
        for size in sizes {
            guard let part = reader.readSized(), part.count == size else { return nil }
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
        let created = try run(.createPrimary(in: Handle.endorsement, from: kind.template))
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
