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
    /// Whether this start has manufactured the TPM: then whatever fails is a failure of the start.
    let isNew: Bool
    let library: LibraryVersion
    /// The authority's key; nil if no certificates are asked for.
    let authority: CertifyingKey?
    let supervisor: SupervisorLink

    private var tpm: EndorsedTPM { EndorsedTPM(over: supervisor) }

    /// Does all, and returns the record of it.
    func endorse() throws(Failure) -> EndorsementRecord {
        var loaded: [EndorsedTPM.LoadedKey] = []
        defer { for key in loaded { tpm.release(key) } }
        var isComplete = true
        for kind in EndorsementKey.Kind.allCases where orders.keys.contains(StandardKeys(kind.standard)) {
            guard let key = try load(kind) else {
                isComplete = false
                continue
            }
            loaded.append(key)
        }
        var digests: [[UInt8]] = []
        for key in loaded { digests.append(try SHA256.digest(key.key.publicKey)) }
        let isOwn = try supervisor.claim(digests)
        var keys: [EndorsementRecord.Key] = []
        for key in loaded {
            var entry = EndorsementRecord.Key(key.key.kind.standard, area: key.key.area)
            if let authority {
                switch isOwn ? try certify(key, by: authority) : .obstacle("another state has the same key") {
                case .certificate(let certificate): entry.certificate = certificate
                case .obstacle(let why):
                    entry.obstacle = why
                    isComplete = false
                    try note("cannot certify the key \(entry.key.name)", why)
                }
            }
            keys.append(entry)
        }
        if authority != nil, keys.contains(where: { !$0.certificate.isEmpty }) {
            if try !storeChain() { isComplete = false }
        }
        return EndorsementRecord(
            level: isComplete ? orders.level : .none,
            instance: instance,
            time: orders.time,
            stateID: orders.stateID,
            containerID: orders.containerID,
            bundle: orders.bundle,
            image: orders.image,
            keys: keys,
            chain: authority == nil ? [] : orders.chain
        )
    }

    private enum Outcome {
        case certificate([UInt8])
        /// Something of the tenant's stands in the way, and stays there.
        case obstacle(String)
    }

    private func load(_ kind: EndorsementKey.Kind) throws(Failure) -> EndorsedTPM.LoadedKey? {
        if let key = try tpm.load(kind) { return key }
        let why = "the tenant has set an authorization of the endorsement hierarchy"
        try note("cannot record the key \(kind.standard.name)", why)
        return nil
    }

    /// Returns the certificate that the TPM has of a key, or makes one and stores it.
    private func certify(_ loaded: EndorsedTPM.LoadedKey, by authority: CertifyingKey) throws(Failure) -> Outcome {
        let index = loaded.key.kind.certificateIndex
        switch try tpm.contents(of: index) {
        case .others: return .obstacle("the tenant has made the NV index \(index.handleText)")
        case .platforms(let found):
            // One for each key: that of an earlier start, or of the host that the state comes from.
            guard let certificate = try? Certificate(decoding: found), try certificate.publicKey == loaded.key.publicKey
            else { return .obstacle("the NV index \(index.handleText) has no certificate of this key") }
            return .certificate(found)
        case .nothing: break
        }
        if try tpm.isAuthorizationSet() {
            return .obstacle("the tenant has set an authorization of the endorsement hierarchy")
        }
        guard try tpm.proves(loaded) else {
            throw Failure(
                "cannot certify the key \(loaded.key.kind.standard.name)",
                because: "the TPM does not have its private part"
            )
        }
        let certificate = try EndorsementCertificate(
            key: loaded.key,
            instance: instance,
            time: orders.time,
            library: library
        ).signed(by: authority)
        return try tpm.store(certificate, at: index) ? .certificate(certificate) : .obstacle(Self.full)
    }

    private static let full = "the TPM's NV memory is full"
    /// The contents of one index, in bytes.
    private static let indexSize = 1024

    /// Stores the certificates above the keys' where others look for them, one after the other; returns whether all are there.
    private func storeChain() throws(Failure) -> Bool {
        let all = orders.chain.flatMap { $0 }
        for (number, start) in stride(from: 0, to: all.count, by: Self.indexSize).enumerated() {
            let index = EndorsedTPM.chainIndex + UInt32(number)
            let part = Array(all[start..<min(start + Self.indexSize, all.count)])
            switch try tpm.contents(of: index) {
            case .platforms: continue
            case .others:
                try note("cannot store the chain", "the tenant has made the NV index \(index.handleText)")
                return false
            case .nothing:
                guard try tpm.store(part, at: index) else {
                    try note("cannot store the chain", Self.full)
                    return false
                }
            }
        }
        return true
    }

    /// Has the supervisor log what is left undone; throws if the TPM is new, which has all or is none.
    private func note(_ what: String, _ why: String) throws(Failure) {
        let failure = Failure(what, because: why)
        if isNew { throw failure }
        try supervisor.send(.notice(failure))
    }
}

extension UInt32 {
    /// A handle as it is usually written.
    fileprivate var handleText: String {
        let digits = String(self, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}
