import Platform
import RuntimeControl
import VTPMProxy

extension Configuration.Manufacture {
    /// The table's keys.
    static let names = [
        "keys", "pcr-banks", "restore-keys", "certificates", "platform-manufacturer", "platform-model",
        "platform-version", "annotations", "pool",
    ]

    init(_ section: Section) throws(Failure) {
        keys = try section.keys("keys") ?? keys
        banks = try section.banks("pcr-banks") ?? banks
        restoresKeys = try section.boolean("restore-keys") ?? restoresKeys
        certificates = try section.choice("certificates") ?? certificates
        platform = try section.platform()
        obeysAnnotations = try section.boolean("annotations") ?? obeysAnnotations
        poolSize = try section.integer("pool", in: 0...Self.poolLimit) ?? poolSize
    }
}

extension Section {
    /// Returns a set of keys, which the file gives as an array of their names; nil if the key is missing.
    fileprivate func keys(_ key: String) throws(Failure) -> StandardKeys? {
        guard let names = try strings(key) else { return nil }
        do throws(Failure) {
            return try StandardKeys(named: names)
        } catch {
            throw refusal(of: key, error.why, hint: error.hint)
        }
    }

    /// Returns a set of banks of PCRs, of which there is one at least; nil if the key is missing.
    fileprivate func banks(_ key: String) throws(Failure) -> PCRBanks? {
        guard let names = try strings(key) else { return nil }
        var banks: PCRBanks = []
        for name in names {
            guard let found = PCRBanks.named.first(where: { $0.name == name }) else {
                let known = PCRBanks.named.map { "\"\($0.name)\"" }.joined(separator: ", ")
                throw refusal(of: key, "cannot hold \"\(name.excerpt)\"", hint: "known: \(known)")
            }
            banks.insert(found.bank)
        }
        guard banks.isValid else { throw refusal(of: key, "must hold at least one bank") }
        return banks
    }

    /// Returns what the certificate of the platform names; nil if none is asked for.
    fileprivate func platform() throws(Failure) -> PlatformName? {
        let keys = ["platform-manufacturer", "platform-model", "platform-version"]
        var texts: [String] = []
        for key in keys {
            guard let text = try string(key) else { continue }
            guard (1...PlatformName.limit).contains(text.utf8.count) else {
                throw refusal(of: key, "must have 1 to \(PlatformName.limit) bytes")
            }
            texts.append(text)
        }
        if texts.isEmpty { return nil }
        guard texts.count == keys.count else {
            throw refusal("needs all of \(keys.map { "\"\($0)\"" }.joined(separator: ", ")), or none")
        }
        return PlatformName(manufacturer: texts[0], model: texts[1], version: texts[2])
    }
}
