import Crypto
import CryptoCertificates
import Platform
import RuntimeControl
import RuntimeEndorsement
import RuntimeHostTPM
import VTPMProxy

// The certificates of a TPM's keys: each is signed once, kept, and then stored in the TPM.
extension Endorser {
    /// Finds the certificate that a key has, or makes one, which is not in the TPM yet.
    ///
    /// One that was signed once is the key's for ever, whoever signs now.
    func issue(_ entry: inout EndorsementRecord.Key, by authority: CertifyingKey) throws(Failure) {
        try attempt(&entry) { (entry) throws(Failure) in
            let key = try publicKey(entry)
            let index = key.kind.certificateIndex
            switch try tpm.contents(of: index) {
            case .others: entry.obstacle = "the tenant has made the NV index \(index.handleText)"
            case .platforms(let found) where entry.certificate.isEmpty:
                // The platform's certificate is of the same key.
                guard let certificate = try? Certificate(decoding: found), try certificate.publicKey == key.publicKey,
                    certificate.extendedKeyUsage == IdentityCertificate.purposes(of: key.kind)
                else {
                    entry.obstacle = "the NV index \(index.handleText) has no certificate of this key"
                    return
                }
                // That of the host that the state comes from: there is one for each key.
                guard certificate.isSigned(by: authority.certificate) else {
                    entry.obstacle = "it has a certificate of another authority"
                    entry.isForeign = true
                    return
                }
                entry.certificate = found
            case .platforms(let found):
                if found != entry.certificate {
                    entry.obstacle = "the NV index \(index.handleText) has another certificate than the record"
                }
            case .nothing, .unwritten:
                guard entry.certificate.isEmpty else { return }
                guard !isRevoked(by: authority) else {
                    entry.obstacle = "certificates of the TPM were revoked"
                    return
                }
                entry.certificate = try IdentityCertificate(
                    key: key,
                    instance: instance,
                    time: orders.time,
                    library: library,
                    listURL: orders.listURL
                ).signed(by: authority)
            }
        }
    }

    /// Whether certificates of this TPM were revoked: then it gets no others.
    private func isRevoked(by authority: CertifyingKey) -> Bool {
        let certificates = (former?.keys ?? []).map(\.certificate) + [former?.platformCertificate ?? []]
        let numbers = certificates.compactMap { $0.isEmpty ? nil : try? Certificate(decoding: $0).serialNumber }
        return authority.revoked.contains { $0.instance == instance || numbers.contains($0.serialNumber) }
    }

    static let full = "the TPM's NV memory is full"

    func store(_ entry: inout EndorsementRecord.Key) throws(Failure) {
        try attempt(&entry) { (entry) throws(Failure) in
            let index = try publicKey(entry).kind.certificateIndex
            if try !store(entry.certificate, at: index) { entry.obstacle = Self.full }
        }
    }

    /// Writes an index unless there is one; returns false if the TPM has no room for it.
    private func store(_ contents: [UInt8], at index: UInt32) throws(Failure) -> Bool {
        switch try tpm.contents(of: index) {
        case .others, .platforms: return true
        case .unwritten: try tpm.remove(index)
        case .nothing: break
        }
        return try tpm.store(contents, at: index)
    }

    /// The contents of one index, in bytes.
    private static let indexSize = 1024

    /// Stores the certificates above the keys' where others look for them, one after the other.
    func storeChain(_ keys: [EndorsementRecord.Key]) throws(Failure) {
        guard keys.contains(where: { !$0.certificate.isEmpty && $0.obstacle.isEmpty }) else { return }
        let all = orders.chain.flatMap { $0 }
        do throws(Failure) {
            for (number, start) in stride(from: 0, to: all.count, by: Self.indexSize).enumerated() {
                let index = EndorsedTPM.chainIndex + UInt32(number)
                let part = Array(all[start..<min(start + Self.indexSize, all.count)])
                // Who has something else there verifies with the certificate that the host gives out.
                guard try store(part, at: index) else {
                    throw Failure("cannot store the authority's certificate", because: Self.full)
                }
            }
        } catch {
            if isNew { throw error }
            try supervisor.send(.notice(error))
        }
    }

    /// Has the supervisor log what is left undone; throws if the TPM is new.
    func note(_ key: EndorsementRecord.Key) throws(Failure) {
        let failure = Failure("cannot certify the key \(key.key.name)", because: key.obstacle)
        if isNew { throw failure }
        try supervisor.send(.notice(failure))
    }

    // MARK: - The platform

    /// A platform's certificate, and whether the TPM is to have it.
    struct PlatformCertificate {
        var certificate: [UInt8]
        var isToStore: Bool
    }

    /// Finds the platform's certificate, or makes one with the first endorsement key, if one is asked for.
    ///
    /// One that was signed once stays, whatever the configuration names now.
    func platformCertificate(
        beside keys: [EndorsementRecord.Key],
        by authority: CertifyingKey
    ) throws(Failure) -> PlatformCertificate {
        var made = PlatformCertificate(certificate: former?.platformCertificate ?? [], isToStore: false)
        guard let platform = orders.platform,
            let entry = keys.first(where: { $0.key.isEndorsement && !$0.certificate.isEmpty && $0.obstacle.isEmpty })
        else { return made }
        do throws(Failure) {
            switch try tpm.contents(of: EndorsedTPM.platformIndex) {
            case .nothing, .unwritten: made.isToStore = true
            case .platforms, .others: return made
            }
            guard made.certificate.isEmpty else { return made }
            guard !isRevoked(by: authority) else { return PlatformCertificate(certificate: [], isToStore: false) }
            made.certificate = try IdentityCertificate(
                key: publicKey(entry),
                instance: instance,
                time: orders.time,
                library: library,
                listURL: orders.listURL,
                platform: platform
            ).signed(by: authority)
            return made
        } catch {
            if isNew { throw error }
            try supervisor.send(.notice(error))
            return PlatformCertificate(certificate: former?.platformCertificate ?? [], isToStore: false)
        }
    }

    /// Stores the platform's certificate in the TPM.
    func store(_ platform: PlatformCertificate) throws(Failure) {
        guard platform.isToStore else { return }
        do throws(Failure) {
            guard try store(platform.certificate, at: EndorsedTPM.platformIndex) else {
                throw Failure("cannot store the platform's certificate", because: Self.full)
            }
        } catch {
            if isNew { throw error }
            try supervisor.send(.notice(error))
        }
    }
}

extension UInt32 {
    /// A handle as it is usually written.
    fileprivate var handleText: String {
        let digits = String(self, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}
