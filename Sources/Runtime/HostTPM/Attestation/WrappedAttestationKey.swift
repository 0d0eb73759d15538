import Crypto
import Platform
import VTPMProxy

/// The key by which a host attests, as its TPM has given it out: only that TPM can use it, for who knows its authorization value.
///
/// It is below a primary key of the endorsement hierarchy, so that what it signs has the TPM's counts of starts as they are; below
/// the owner's they would be disguised (TPM 2.0 Library, Part 1, 36.7). It is no primary key itself: whoever may use the hierarchy
/// could make that one anew, with another authorization value.
package struct WrappedAttestationKey: Equatable, Sendable {
    /// The public key.
    package let key: QuotingKey
    /// The private part, encrypted to its parent: the contents of a TPM2B_PRIVATE.
    package let privateArea: [UInt8]
    /// The name of the parent, by which the TPM is known again.
    package let parentName: [UInt8]
    /// The name of the endorsement key whose TPM alone has learnt the authorization value.
    package let endorsementName: [UInt8]

    /// Takes over its parts; returns nil if they are malformed.
    package init?(publicArea: [UInt8], privateArea: [UInt8], parentName: [UInt8], endorsementName: [UInt8]) {
        guard let key = QuotingKey(decoding: publicArea), !privateArea.isEmpty, isEntityName(parentName),
            isEntityName(endorsementName)
        else { return nil }
        self.key = key
        self.privateArea = privateArea
        self.parentName = parentName
        self.endorsementName = endorsementName
    }

    /// The size of its authorization value, in bytes.
    package static let authorizationSize = 32

    /// Makes an authorization value.
    ///
    /// A TPM removes zeros at the end of one. TPM 2.0 Library, Part 1, 19.6.5
    package static func makeAuthorization() throws(Failure) -> SecretBytes {
        while true {
            let secret = try Random.secret(count: authorizationSize)
            if secret.withBytes({ $0[authorizationSize - 1] != 0 }) { return secret }
        }
    }
}

extension HostTPM {
    /// Makes a key by which the host attests. TPM2_Create
    ///
    /// The session has its salt encrypted to this endorsement key, and its HMAC covers the names of what it is about. So only the TPM
    /// with that key learns the authorization value, and only it can have made the parent. The key has to be the very one that the
    /// verifier is given, who compares it with the certificate of the TPM's maker.
    package func makeAttestationKey(
        _ authorization: SecretBytes,
        _ kind: QuotingKey.Kind = .p256,
        for endorsement: IdentityKey
    ) throws(Failure) -> WrappedAttestationKey {
        let link = link("cannot make the host's attestation key")
        // TPMS_SENSITIVE_CREATE: the authorization value, and no data.
        let size = WrappedAttestationKey.authorizationSize
        let sensitive = try SecretBytes(capacity: size + 4)
        guard authorization.count == size, sensitive.append(copying: [0, UInt8(size)]),
            sensitive.append(copying: authorization), sensitive.append(copying: [0, 0])
        else { throw link.failure("its authorization value has \(authorization.count) bytes, not \(size)") }
        return try link.withAttestationParent(for: endorsement) { (parent, session) throws(Failure) in
            var create = Command(.create)
            create.handles = [.init(parent.handle, name: parent.name)]
            create.authorization = .session(session)
            create.secretParameter = sensitive
            create.parameters.write(sized: QuotingKey.template(kind))
            create.parameters.write(sized: [])
            create.parameters.write(UInt32(0))
            var response = try link.run(create)
            guard let privateArea = response.parameters.readSized(), let publicArea = response.parameters.readSized(),
                let wrapped = WrappedAttestationKey(
                    publicArea: publicArea,
                    privateArea: privateArea,
                    parentName: parent.name,
                    endorsementName: try endorsement.name
                ), wrapped.key.kind == kind
            else { throw link.malformed(.create) }
            return wrapped
        }
    }

    /// Runs `body` with the key in the TPM's memory; `what` is the start of errors.
    package func withAttestationKey<Result>(
        _ wrapped: WrappedAttestationKey,
        _ authorization: SecretBytes,
        _ what: String,
        _ body: (LoadedAttestationKey) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let link = link(what)
        return try link.withAttestationParent { (parent, session) throws(Failure) in
            guard parent.name == wrapped.parentName else {
                throw link.failure(
                    "this is not the TPM that has made the attestation key, or it was cleared",
                    hint: "enroll the host again: vtpmctl host enroll --new"
                )
            }
            var load = Command(.load)
            load.handles = [.init(parent.handle, name: parent.name)]
            load.authorization = .session(session)
            load.parameters.write(sized: wrapped.privateArea)
            load.parameters.write(sized: wrapped.key.area)
            load.returnsHandle = true
            return try link.withObject(link.run(load), madeBy: .load) { (handle) throws(Failure) in
                session.authorizationValue = authorization
                defer { session.authorizationValue = nil }
                return try body(LoadedAttestationKey(link: link, session: session, handle: handle, key: wrapped.key))
            }
        }
    }
}

extension TPMConnection {
    /// Runs `body` with the parent of attestation keys in the TPM's memory, and with a session that is salted to it, or to an
    /// endorsement key.
    fileprivate func withAttestationParent<Result>(
        for endorsement: IdentityKey? = nil,
        _ body: (_ parent: StorageKey, AuthSession) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let create = Command.createPrimary(in: Handle.endorsement, from: StorageKey.template)
        let refusals: [ResponseCode] = [.authFail, .badAuth]
        let created = try run(create, accepting: refusals)
        guard !refusals.contains(where: created.code.isSame) else {
            throw failure(
                "the endorsement hierarchy of the host's TPM has an authorization",
                hint: "take it away: tpm2_changeauth -c endorsement -p AUTH"
            )
        }
        return try withObject(created, madeBy: .createPrimary) { (handle) throws(Failure) in
            var parameters = created.parameters
            guard let area = parameters.readSized() else { throw malformed(.createPrimary) }
            let parent = try parse(area, at: handle)
            guard let endorsement else {
                return try withSession(.hmac, parent) { (session) throws(Failure) in try body(parent, session) }
            }
            return try withEndorsementKey(endorsement.kind) { (handle, key) throws(Failure) in
                guard key == endorsement else {
                    throw failure(
                        "its endorsement key is another than a moment before: something between this host and its TPM changed it"
                    )
                }
                let salting = try StorageKey(key, at: handle)
                return try withSession(.hmac, salting) { (session) throws(Failure) in try body(parent, session) }
            }
        }
    }
}

extension StorageKey {
    /// Takes an endorsement key for what salts are encrypted to.
    fileprivate init(_ key: IdentityKey, at handle: UInt32) throws(Failure) {
        let what = "cannot use the endorsement key of the host's TPM"
        var reader = ByteReader(Array(key.area.dropFirst(key.kind.standard.template.head.count)))
        switch key.kind {
        case .p256:
            guard let x = reader.readSized(), let y = reader.readSized(), let point = P256Point(x: x, y: y) else {
                throw Failure(what, because: "it is not on its curve")
            }
            self.init(handle: handle, name: try key.name, point: .p256(point))
        case .rsa:
            guard let modulus = reader.readSized(), let rsa = RSAPublicKey(modulus: modulus, exponent: 65537) else {
                throw Failure(what, because: "it is no RSA key")
            }
            self.init(handle: handle, name: try key.name, point: .rsa(rsa))
        default: throw Failure(what, because: "it is of the kind \(key.kind.rawValue)")
        }
    }
}
