import Platform
import RuntimePCR

extension HostTPM {
    /// The largest secret that a TPM seals, in bytes: MAX_SYM_DATA. TPM 2.0 Library, Part 2, 11.1.14
    static let secretSizeLimit = 128

    /// Seals a secret to the current values of the PCRs. TPM2_Create
    ///
    /// Makes the storage key if the TPM has none. The secret is encrypted to that key on its way to the TPM. Without
    /// `other`, the storage key is trusted on first use, and its name is recorded. With `other`, the storage key must
    /// be the one that `other` was sealed under.
    public func seal(
        _ secret: SecretBytes,
        pcrs: PCRSelection,
        like other: SealedSecret? = nil
    ) throws(Failure) -> SealedSecret {
        let link = link("cannot seal a secret with the host's TPM")
        guard 1...Self.secretSizeLimit ~= secret.count else {
            throw link.failure("it has \(secret.count) bytes, and a TPM takes 1 to \(Self.secretSizeLimit)")
        }
        // TPMS_SENSITIVE_CREATE: an empty authorization value, and the data. Part 2, 11.1.15
        let sensitive = try SecretBytes(capacity: 4 + secret.count)
        guard sensitive.append(copying: [0, 0, 0, UInt8(secret.count)]), sensitive.append(copying: secret) else {
            throw link.failure("it does not fit")
        }
        let key =
            if let other {
                try link.storageKey(at: other.keyHandle, named: other.keyName)
            } else {
                try link.storageKeyOrNew()
            }
        return try link.withSession(.hmac, key) { (session) throws(Failure) in
            let policy = try link.policyDigest(of: pcrs, session)
            var create = Command(.create)
            create.handles = [.init(key.handle, name: key.name)]
            create.authorization = .session(session)
            create.secretParameter = sensitive
            create.parameters.write(sized: SealedSecret.template(policy: policy))
            // An empty outsideInfo, and no PCRs in the creation data.
            create.parameters.write(sized: [])
            create.parameters.write(UInt32(0))
            var response = try link.run(create)
            guard let privateArea = response.parameters.readSized(), !privateArea.isEmpty,
                let publicArea = response.parameters.readSized(),
                SealedSecret.isPublicArea(publicArea, policy: policy)
            else { throw link.malformed(.create) }
            return SealedSecret(key: key, pcrs: pcrs, policy: policy, publicArea: publicArea, privateArea: privateArea)
        }
    }

    /// Unseals a secret; the TPM encrypts it on its way. TPM2_Unseal
    ///
    /// The error tells apart another TPM or storage key, changed PCRs, and a response that is not the TPM's.
    public func unseal(_ sealed: SealedSecret) throws(Failure) -> SecretBytes {
        let link = link("cannot unseal the secret with the host's TPM")
        let key = try link.storageKey(at: sealed.keyHandle, named: sealed.keyName)
        let name = try entityName(ofPublicArea: sealed.publicArea)
        return try link.withSession(.policy, key) { (session) throws(Failure) in
            try link.satisfyPolicy(of: sealed, session)
            var load = Command(.load)
            load.handles = [.init(key.handle, name: key.name)]
            // The key's authorization value is empty. TPM2_Unseal checks the loaded object: its HMAC covers the
            // object's name.
            load.authorization = .password
            load.parameters.write(sized: sealed.privateArea)
            load.parameters.write(sized: sealed.publicArea)
            load.returnsHandle = true
            return try link.withObject(link.run(load), madeBy: .load) { (handle) throws(Failure) in
                var unseal = Command(.unseal)
                unseal.handles = [.init(handle, name: name)]
                unseal.authorization = .session(session, .encrypt)
                let response = try link.run(unseal)
                guard let secret = response.secret, secret.count > 0, response.parameters.remaining == 0 else {
                    throw link.malformed(.unseal)
                }
                return secret
            }
        }
    }
}

extension TPMConnection {
    /// Runs TPM2_PolicyPCR; throws an error of its own if the PCRs have changed.
    fileprivate func satisfyPolicy(of sealed: SealedSecret, _ session: AuthSession) throws(Failure) {
        var policy = Command(.policyPCR)
        policy.handles = [.init(session.handle)]
        // An empty digest: the TPM takes the current values of the PCRs.
        policy.parameters.write(sized: [])
        policy.parameters.write(sealed.pcrs.encoded)
        _ = try run(policy)
        var question = Command(.policyGetDigest)
        question.handles = [.init(session.handle)]
        var response = try run(question)
        guard let digest = response.parameters.readSized(), response.parameters.remaining == 0 else {
            throw malformed(.policyGetDigest)
        }
        // The digest is not authenticated. It only chooses the error; TPM2_Unseal checks the policy.
        guard digest == sealed.policy else {
            throw failure(
                "the host's PCRs changed: it is sealed under \(sealed.pcrs)",
                hint: "boot the measured system again, or restore the master key with vtpmctl key import"
            )
        }
    }
}
