import Platform
import VTPMProxy

/// A secret for the TPM with an endorsement key, as `tpm2_makecredential` writes it.
package struct CredentialFile: Equatable, Sendable {
    /// The contents of a TPM2B_ID_OBJECT.
    package let blob: [UInt8]
    /// The contents of a TPM2B_ENCRYPTED_SECRET.
    package let encryptedSeed: [UInt8]

    /// The largest file, in bytes.
    package static let sizeLimit = 4096
    private static let (magic, version): (UInt32, UInt32) = (0xbadc_c0de, 1)

    /// Reads the file's contents; returns nil if they are no such file's.
    package init?(decoding bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard reader.read(UInt32.self) == Self.magic, reader.read(UInt32.self) == Self.version,
            let blob = reader.readSized(), let seed = reader.readSized(), reader.remaining == 0
        else { return nil }
        self.blob = blob
        encryptedSeed = seed
    }
}

/// The endorsement key of a host's TPM, by which its maker vouches for it.
package struct HostEndorsement: Sendable {
    /// The key.
    package let key: IdentityKey
    /// The maker's certificate in DER; nil if the TPM has none at the place of this key's.
    package let certificate: [UInt8]?
}

extension HostTPM {
    /// The keys for which a TPM usually has a certificate, the better one first.
    package static let endorsementKinds: [IdentityKey.Kind] = [.p256, .rsa]

    /// Returns the endorsement key of this kind, or without one that which has a certificate, and its certificate.
    package func endorsement(_ kind: IdentityKey.Kind?) throws(Failure) -> HostEndorsement {
        let link = link("cannot read the endorsement key of the host's TPM")
        var chosen = kind ?? Self.endorsementKinds[0]
        var certificate = try link.certificate(at: chosen.certificateIndex)
        if kind == nil, certificate == nil {
            for other in Self.endorsementKinds.dropFirst() where certificate == nil {
                certificate = try link.certificate(at: other.certificateIndex)
                if certificate != nil { chosen = other }
            }
        }
        return try link.withEndorsementKey(chosen) { (_, key) throws(Failure) in
            HostEndorsement(key: key, certificate: certificate)
        }
    }

    /// Opens a secret that was made for this TPM's endorsement key and the attestation key's name.
    ///
    /// Who has made the secret learns by it that the attestation key is in the TPM which its maker has certified.
    /// TPM2_ActivateCredential, Part 3, 12.5
    package func activate(
        _ file: CredentialFile,
        _ wrapped: WrappedAttestationKey,
        _ authorization: SecretBytes,
        by kind: IdentityKey.Kind
    ) throws(Failure) -> [UInt8] {
        let what = "cannot open the secret for the host's TPM"
        return try withAttestationKey(wrapped, authorization, what) { (loaded) throws(Failure) in
            let link = loaded.link
            return try link.withEndorsementKey(kind) { (handle, key) throws(Failure) in
                try link.withPolicySession { (policy) throws(Failure) in
                    var activate = Command(.activateCredential)
                    activate.handles = [
                        .init(loaded.handle, name: try loaded.key.name), .init(handle, name: try key.name),
                    ]
                    activate.authorization = .sessionAndPlain(loaded.session, second: policy)
                    activate.parameters.write(sized: file.blob)
                    activate.parameters.write(sized: file.encryptedSeed)
                    var parameters = try link.run(activate).parameters
                    guard let secret = parameters.readSized(), parameters.remaining == 0 else {
                        throw link.malformed(.activateCredential)
                    }
                    return secret
                }
            }
        }
    }
}

extension TPMConnection {
    /// Runs `body` with an endorsement key: that at its handle, or one that is made anew from the TPM's seed.
    func withEndorsementKey<Result>(
        _ kind: IdentityKey.Kind,
        _ body: (_ handle: UInt32, IdentityKey) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var read = Command(.readPublic)
        read.handles = [.init(kind.standard.handle)]
        var response = try run(read, accepting: [.handle])
        if response.code == .success, let area = response.parameters.readSized(),
            let key = IdentityKey(kind, decoding: area)
        {
            return try body(kind.standard.handle, key)
        }
        let (created, key) = try createIdentityKey(kind)
        defer { flush(created.handle) }
        return try body(created.handle, key)
    }

    /// Reads the certificate at an NV index that everybody may read; returns nil if there is none.
    fileprivate func certificate(at index: UInt32) throws(Failure) -> [UInt8]? {
        guard let area = try nvPublic(index), area.attributes.isSuperset(of: [.written, .authRead]),
            area.size <= Self.certificateLimit
        else { return nil }
        let name = try entityName(ofPublicArea: area.encoded)
        var contents: [UInt8] = []
        while contents.count < area.size {
            let count = min(Int(area.size) - contents.count, Self.certificateChunk)
            var command = Command(.nvRead)
            command.handles = [.init(index, name: name), .init(index, name: name)]
            command.authorization = .password
            command.parameters.write(UInt16(count))
            command.parameters.write(UInt16(contents.count))
            var parameters = try run(command).parameters
            guard let part = parameters.readSized(), part.count == count else { throw malformed(.nvRead) }
            contents += part
        }
        return contents
    }

    private static let certificateLimit: UInt16 = 4096
    /// How much one command reads, in bytes: the least that a TPM allows.
    private static let certificateChunk = 512
}
