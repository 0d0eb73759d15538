import Crypto
import CryptoEndorsement
import Platform
import VTPMProxy

/// What a TPM says with its quoting key of a key that it has just made: TPMS_ATTEST with TPMS_CREATION_INFO. Part 2, 10.12
///
/// A device identity's own policy forbids that it is activated as an endorsement key's companion. So its TPM is shown by the
/// quoting key, which has shown to be beside the endorsement key: a restricted key says of no other TPM's key that it was
/// created here, since only this TPM makes the ticket for that. Part 3, 18.3
struct CertifiedCreation {
    private let objectName: [UInt8]
    private let creationHash: [UInt8]
    private let nonce: [UInt8]

    /// Parses it; returns nil if it is malformed, or was not made inside of a TPM.
    init?(_ attestation: [UInt8]) {
        let (generated, creation): (UInt32, UInt16) = (0xff54_4347, 0x801a)
        // The clock's information has 17 bytes, the firmware's version 8.
        let clockAndVersion = 25
        var reader = ByteReader(attestation)
        guard reader.read(UInt32.self) == generated, reader.read(UInt16.self) == creation, reader.readSized() != nil,
            let nonce = reader.readSized(), reader.read(count: clockAndVersion) != nil,
            let name = reader.readSized(), let hash = reader.readSized(), reader.remaining == 0
        else { return nil }
        self.nonce = nonce
        objectName = name
        creationHash = hash
    }

    /// Whether it answers this request, for this key.
    func isOf(_ name: [UInt8], _ hash: [UInt8], asked nonce: [UInt8]) -> Bool {
        objectName == name && creationHash == hash && self.nonce == nonce
    }
}

extension EndorsedTPM {
    /// Has the TPM make a device identity, of which nothing stays in it, and certify its creation with the quoting key.
    ///
    /// Returns nil if the TPM that has the quoting key did not make the key. Throws if what is at the key's handle is another
    /// one, where `isKept` says that it has to be there.
    package func identity(
        _ kind: IdentityKey.Kind,
        certifiedBy quotingKey: QuotingKey,
        isKept: Bool
    ) throws(Failure) -> IdentityKey? {
        let quoting = try connection.run(.createPrimary(in: Handle.endorsement, from: QuotingKey.template))
        return try connection.withObject(quoting, madeBy: .createPrimary) { (signer) throws(Failure) in
            let (created, key) = try connection.createIdentityKey(kind)
            return try connection.withObject(created, madeBy: .createPrimary) { (object) throws(Failure) in
                guard try certifies(key, created, at: object, by: signer, quotingKey) else { return nil }
                if isKept {
                    guard try kept(kind).key == key else {
                        throw connection.failure("another key is at the handle \(Handle.text(kind.standard.handle))")
                    }
                }
                return key
            }
        }
    }

    private func certifies(
        _ key: IdentityKey,
        _ created: Response,
        at object: UInt32,
        by signer: UInt32,
        _ quotingKey: QuotingKey
    ) throws(Failure) -> Bool {
        // The creation data, their digest, and the ticket: its tag, the hierarchy, a digest.
        var parameters = created.parameters
        guard parameters.readSized() != nil, let hash = parameters.readSized(),
            let tag = parameters.read(UInt16.self), let hierarchy = parameters.read(UInt32.self),
            let ticket = parameters.readSized()
        else { throw connection.malformed(.createPrimary) }
        let nonce = try Random.bytes(count: 32)
        var certify = Command(.certifyCreation)
        certify.handles = [.init(signer), .init(object)]
        certify.authorization = .password
        certify.parameters.write(sized: nonce)
        certify.parameters.write(sized: hash)
        // The scheme is the key's own.
        certify.parameters.write(Algorithm.null)
        certify.parameters.write(tag)
        certify.parameters.write(hierarchy)
        certify.parameters.write(sized: ticket)
        var response = try connection.run(certify).parameters
        guard let attestation = response.readSized(), let scheme = response.read(UInt16.self),
            let digest = response.read(UInt16.self), let r = response.readSized(), let s = response.readSized(),
            response.remaining == 0
        else { throw connection.malformed(.certifyCreation) }
        guard scheme == QuotingKey.scheme, digest == Algorithm.sha256, let made = CertifiedCreation(attestation),
            try made.isOf(key.name, hash, asked: nonce)
        else { return false }
        return TPMSignature.isECDSA(r, s, of: attestation, by: quotingKey.publicKey)
    }
}
