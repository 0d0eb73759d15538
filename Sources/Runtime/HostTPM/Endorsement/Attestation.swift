import Crypto
import CryptoDigests
import CryptoEndorsement
import Platform
import VTPMProxy

/// What a TPM says of one of its objects, with a key that signs: TPMS_ATTEST. Part 2, 10.12
struct Attestation {
    /// TPM_ST_ATTEST_*. Part 2, 6.9
    enum Kind: UInt16 {
        /// The TPM has the object: its name, and its qualified name.
        case certify = 0x8017
        /// The TPM has made the object: its name, and the digest of how. TPMS_CREATION_INFO
        case creation = 0x801a
    }

    /// The nonce of who has asked.
    let nonce: [UInt8]
    let objectName: [UInt8]
    /// The qualified name, or the digest of the creation data.
    let second: [UInt8]

    /// Parses it; returns nil if it is malformed, of another kind, or was not made inside of a TPM.
    init?(_ kind: Kind, decoding bytes: [UInt8]) {
        let generated: UInt32 = 0xff54_4347
        // The clock's information has 17 bytes, the firmware's version 8.
        let clockAndVersion = 25
        var reader = ByteReader(bytes)
        guard reader.read(UInt32.self) == generated, reader.read(UInt16.self) == kind.rawValue,
            reader.readSized() != nil, let nonce = reader.readSized(), reader.read(count: clockAndVersion) != nil,
            let name = reader.readSized(), let second = reader.readSized(), reader.remaining == 0
        else { return nil }
        self.nonce = nonce
        objectName = name
        self.second = second
    }
}

extension EndorsedTPM {
    /// A key in the TPM's memory that signs.
    struct Signer {
        let handle: UInt32
        /// The public key, a SubjectPublicKeyInfo in DER.
        let publicKey: [UInt8]
        /// The digest that it signs.
        let hash: DigestAlgorithm
    }

    private static let nonceSize = 32

    /// Returns whether a key is the one that signs: it certifies an object of this name, for a nonce. TPM2_Certify, Part 3, 18.2
    ///
    /// That its private part is there is what this shows. A credential that is bound to the key's name does not: it is opened by
    /// the endorsement key alone, which somebody who has taken the TPM over has as well.
    func signs(_ signer: Signer, for object: UInt32, named name: [UInt8]) throws(Failure) -> Bool {
        let nonce = try Random.bytes(count: Self.nonceSize)
        var certify = Command(.certify)
        certify.handles = [.init(object), .init(signer.handle)]
        certify.authorization = .passwords
        certify.parameters.write(sized: nonce)
        // The scheme is the key's own.
        certify.parameters.write(Algorithm.null)
        guard let said = try attested(certify, .certify, by: signer) else { return false }
        return said.nonce == nonce && said.objectName == name
    }

    /// Returns whether a key was made in the TPM that has the signer. TPM2_CertifyCreation, Part 3, 18.3
    ///
    /// `created` is the response that says how. Only the TPM that has made a key gives out the ticket that this takes.
    func certifiesCreation(
        of key: IdentityKey,
        _ created: Response,
        at object: UInt32,
        by signer: Signer
    ) throws(Failure) -> Bool {
        // The creation data, their digest, and the ticket: its tag, the hierarchy, a digest.
        var parameters = created.parameters
        guard parameters.readSized() != nil, let hash = parameters.readSized(),
            let tag = parameters.read(UInt16.self), let hierarchy = parameters.read(UInt32.self),
            let ticket = parameters.readSized()
        else { throw connection.malformed(.createPrimary) }
        let nonce = try Random.bytes(count: Self.nonceSize)
        var certify = Command(.certifyCreation)
        certify.handles = [.init(signer.handle), .init(object)]
        certify.authorization = .password
        certify.parameters.write(sized: nonce)
        certify.parameters.write(sized: hash)
        certify.parameters.write(Algorithm.null)
        certify.parameters.write(tag)
        certify.parameters.write(hierarchy)
        certify.parameters.write(sized: ticket)
        guard let said = try attested(certify, .creation, by: signer) else { return false }
        let name = try key.name
        return said.nonce == nonce && said.objectName == name && said.second == hash
    }

    /// Executes a command and returns what it has signed; nil if the signature is not the signer's.
    private func attested(
        _ command: Command,
        _ kind: Attestation.Kind,
        by signer: Signer
    ) throws(Failure) -> Attestation? {
        var response = try connection.run(command).parameters
        guard let bytes = response.readSized(), let scheme = response.read(UInt16.self),
            let digest = response.read(UInt16.self), let r = response.readSized(), let s = response.readSized(),
            response.remaining == 0
        else { throw connection.malformed(command.code) }
        let expected = signer.hash == .sha256 ? KeyTemplate.sha256 : KeyTemplate.sha384
        guard scheme == Algorithm.ecdsa, digest == expected,
            TPMSignature.isECDSA(r, s, of: bytes, by: signer.publicKey, with: signer.hash)
        else { return nil }
        return Attestation(kind, decoding: bytes)
    }
}
