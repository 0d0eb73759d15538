import Crypto
import CryptoCertificates
import Platform
import RuntimeControl
import RuntimeEndorsement
import RuntimeHostTPM
import VTPMProxy

/// What records and certifies the endorsement keys of one TPM, before anybody has it.
struct Endorser {
    let orders: EndorsementOrders
    /// The TPM's UUID, 16 bytes.
    let instance: [UInt8]
    /// Whether this start has manufactured the TPM: then it has all, or is none.
    let isNew: Bool
    let library: LibraryVersion
    /// The record of an earlier start, which has not had all that was asked for; nil if there is none.
    let former: EndorsementRecord?
    /// The authority's key; nil if no certificates are asked for.
    let authority: CertifyingKey?
    let supervisor: SupervisorLink

    var tpm: EndorsedTPM { EndorsedTPM(over: supervisor) }

    /// Does all, and returns the record of it.
    func endorse() throws(Failure) -> EndorsementRecord {
        let kinds = IdentityKey.Kind.allCases.filter { orders.keys.contains(StandardKeys($0.standard)) }
        var keys: [EndorsementRecord.Key] = []
        var quotingKey = former?.quotingKey ?? []
        for kind in kinds { keys.append(try examine(kind, &quotingKey)) }
        try claim(&keys)
        var platformBytes = former?.platformCertificate ?? []
        if let authority {
            for number in keys.indices where keys[number].obstacle.isEmpty {
                try issue(&keys[number], by: authority)
            }
            let platform = try platformCertificate(beside: keys, by: authority)
            // What was signed is kept before the TPM has it: a start that ends in between must not have another one signed.
            if keys.contains(where: { $0.certificate != formerly($0.key)?.certificate ?? [] })
                || platform.certificate != former?.platformCertificate ?? []
            {
                try supervisor.keep(record(keys, quotingKey, platform.certificate, .none).encoded)
            }
            for number in keys.indices where keys[number].obstacle.isEmpty && !keys[number].certificate.isEmpty {
                try store(&keys[number])
            }
            try store(platform)
            try storeChain(keys)
            platformBytes = platform.certificate
        }
        for key in keys where !key.obstacle.isEmpty { try note(key) }
        let isComplete = keys.allSatisfy { $0.obstacle.isEmpty || $0.isForeign }
        return record(keys, quotingKey, platformBytes, isComplete ? orders.level : .none)
    }

    /// Returns a record, which has lost nothing that the former one has.
    private func record(
        _ keys: [EndorsementRecord.Key],
        _ quotingKey: [UInt8],
        _ platformCertificate: [UInt8],
        _ level: EndorsementLevel
    ) -> EndorsementRecord {
        var record =
            former
            ?? EndorsementRecord(
                level: level,
                instance: instance,
                time: orders.time,
                stateID: orders.stateID,
                containerID: orders.containerID,
                bundle: orders.bundle,
                image: orders.image,
                keys: [],
                chain: []
            )
        record.level = level
        record.instance = instance
        record.quotingKey = quotingKey
        record.platformCertificate = platformCertificate
        record.stateID = orders.stateID
        record.keys = keys + record.keys.filter { old in !keys.contains { $0.key == old.key } }
        if keys.contains(where: { $0.certificate != formerly($0.key)?.certificate ?? [] }) {
            record.chain += orders.chain.filter { !record.chain.contains($0) }
        }
        return record
    }

    func formerly(_ key: StandardKey) -> EndorsementRecord.Key? { former?.keys.first { $0.key == key } }

    /// Runs `body`; what stands in its way in a TPM that its tenant has had is an obstacle, and the TPM starts all the same.
    func attempt(
        _ key: inout EndorsementRecord.Key,
        _ body: (inout EndorsementRecord.Key) throws(Failure) -> Void
    ) throws(Failure) {
        do throws(Failure) {
            try body(&key)
        } catch {
            if isNew { throw error }
            key.obstacle = error.why
        }
    }

    // MARK: - Keys

    /// Returns a key whose private part the TPM has shown to have; with an obstacle in its place what was known before.
    ///
    /// The first such key also shows which one the TPM will quote by: its public area is taken once and never asked for again.
    private func examine(
        _ kind: IdentityKey.Kind,
        _ quotingKey: inout [UInt8]
    ) throws(Failure) -> EndorsementRecord.Key {
        var entry = formerly(kind.standard) ?? EndorsementRecord.Key(kind.standard, area: [])
        entry.obstacle = ""
        entry.isForeign = false
        try attempt(&entry) { (entry) throws(Failure) in
            if try tpm.isAuthorizationSet() {
                entry.obstacle = "the tenant has set an authorization of the endorsement hierarchy"
                return
            }
            let key =
                try kind.standard.isDeviceIdentity
                ? identity(kind, certifiedBy: quotingKey) : endorsementKey(kind, &quotingKey)
            if entry.area.isEmpty { entry.area = key.area }
            if entry.area != key.area { entry.obstacle = "the TPM shows another key than before" }
        }
        return entry
    }

    /// Returns an endorsement key, for which the TPM has opened a credential.
    private func endorsementKey(
        _ kind: IdentityKey.Kind,
        _ quotingKey: inout [UInt8]
    ) throws(Failure) -> IdentityKey {
        let loaded = try isNew ? tpm.kept(kind) : tpm.derived(kind)
        defer { tpm.release(loaded) }
        guard try tpm.proves(loaded) else { throw Self.isNotProved(kind) }
        if quotingKey.isEmpty, formerly(kind.standard)?.area ?? loaded.key.area == loaded.key.area {
            quotingKey = try self.quotingKey(besides: loaded)
        }
        return loaded.key
    }

    /// Returns a device identity, whose creation the TPM has certified with the quoting key.
    private func identity(
        _ kind: IdentityKey.Kind,
        certifiedBy quotingKey: [UInt8]
    ) throws(Failure) -> IdentityKey {
        guard let signer = QuotingKey(decoding: quotingKey) else {
            throw Failure(
                "cannot certify the key \(kind.standard.name)",
                because: "the key by which the TPM quotes is not known, which vouches for it"
            )
        }
        guard let key = try tpm.identity(kind, certifiedBy: signer, isKept: isNew) else {
            throw Self.isNotProved(kind)
        }
        return key
    }

    private static func isNotProved(_ kind: IdentityKey.Kind) -> Failure {
        Failure("cannot certify the key \(kind.standard.name)", because: "the TPM does not have its private part")
    }

    /// Returns the public area of the key by which the TPM will quote; a TPM that has had a tenant may have none.
    private func quotingKey(besides loaded: EndorsedTPM.LoadedKey) throws(Failure) -> [UInt8] {
        do throws(Failure) {
            guard let key = try tpm.quotingKey(besides: loaded) else {
                throw Failure("cannot record the quoting key", because: "the TPM does not have its private part")
            }
            return key.area
        } catch {
            if isNew { throw error }
            try supervisor.send(.notice(error))
            return []
        }
    }

    func publicKey(_ entry: EndorsementRecord.Key) throws(Failure) -> IdentityKey {
        guard let kind = IdentityKey.Kind(entry.key), let key = IdentityKey(kind, decoding: entry.area)
        else { throw Failure("cannot endorse the TPM", because: "the record of the key \(entry.key.name) is damaged") }
        return key
    }

    /// Has the supervisor record the keys as this instance's; those that are not stay without a certificate.
    private func claim(_ keys: inout [EndorsementRecord.Key]) throws(Failure) {
        let proved = keys.indices.filter { keys[$0].obstacle.isEmpty }
        guard !proved.isEmpty else { return }
        var digests: [[UInt8]] = []
        for number in proved { digests.append(try SHA256.digest(publicKey(keys[number]).publicKey)) }
        let claim = try supervisor.claim(zip(proved, digests).map { [keys[$0].key.rawValue] + $1 })
        for (number, digest) in zip(proved, digests) {
            switch claim {
            case .own: keys[number].digest = digest
            case .taken: keys[number].obstacle = "another state has the same key"
            case .changed: keys[number].obstacle = "the state is recorded with another key"
            }
            // A key that was not recorded before, and is refused now, is not this TPM's to show.
            if claim == .changed, formerly(keys[number].key) == nil { keys[number].area = [] }
        }
    }
}
