import Platform

extension HostTPM {
    /// The most that a TPM seals, in bytes: MAX_SYM_DATA. TPM 2.0 Library, Part 2, 11.1.14
    static let secretSizeLimit = 128

    /// Has the TPM encrypt a secret, so that it gives it out only while these PCRs have the values of now.
    ///
    /// The storage key is made where the TPM has none. On the way to the TPM the secret is encrypted for the TPM that
    /// the storage key belongs to; which one that is, is believed at this moment and recorded, unless another secret was
    /// sealed before: then it must be the same.
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
            // No outside information, and no PCRs in the creation data.
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

    /// Has the TPM give out a secret again, encrypted on its way.
    ///
    /// Each reason to refuse has its own words: another TPM or storage key, changed PCRs, a response that is not the
    /// TPM's.
    public func unseal(_ sealed: SealedSecret) throws(Failure) -> SecretBytes {
        let link = link("cannot unseal the secret with the host's TPM")
        let key = try link.storageKey(at: sealed.keyHandle, named: sealed.keyName)
        let name = try entityName(ofPublicArea: sealed.publicArea)
        return try link.withSession(.policy, key) { (session) throws(Failure) in
            try link.satisfyPolicy(of: sealed, session)
            var load = Command(.load)
            load.handles = [.init(key.handle, name: key.name)]
            // The key's authorization value is empty, and what is loaded is checked below: its name is part of the
            // HMAC that TPM2_Unseal is sent with.
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
    /// Has the TPM look at its PCRs, and tells apart changed PCRs from all else that can go wrong later.
    fileprivate func satisfyPolicy(of sealed: SealedSecret, _ session: AuthSession) throws(Failure) {
        var policy = Command(.policyPCR)
        policy.handles = [.init(session.handle)]
        // No digest is asked for: the TPM takes the PCRs as they are.
        policy.parameters.write(sized: [])
        policy.parameters.write(sealed.pcrs.encoded)
        _ = try run(policy)
        var question = Command(.policyGetDigest)
        question.handles = [.init(session.handle)]
        var response = try run(question)
        guard let digest = response.parameters.readSized(), response.parameters.remaining == 0 else {
            throw malformed(.policyGetDigest)
        }
        // Not authenticated: it decides about words alone, TPM2_Unseal about the secret.
        guard digest == sealed.policy else {
            throw failure(
                "the host's PCRs changed: it is sealed under \(sealed.pcrs)",
                hint: "boot the measured system again, or restore the master key with vtpmctl key import"
            )
        }
    }
}
