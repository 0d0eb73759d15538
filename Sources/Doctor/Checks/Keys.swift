import Configuration
import Crypto
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeHostTPM
import RuntimeKeys
import RuntimeState

extension Host {
    /// Loads the configuration that the hook loads.
    func configuration() throws(Failure) -> Configuration {
        guard let configurationPath else { return try .load(path: root + Configuration.standardPath) }
        return try .load(path: configurationPath, mayBeMissing: false)
    }

    /// Throws unless this process may see what only root may.
    func requireRoot() throws(Failure) {
        guard user == owner else { throw Failure("cannot look", because: "only root may") }
    }

    /// Whether there have ever been states here.
    ///
    /// The folders are looked for first, since the function that opens them makes them.
    func hasStates() throws(Failure) -> Bool {
        guard access(paths.states, F_OK) == 0, access(paths.index, F_OK) == 0 else { return false }
        return try HostContext.isUsed(paths)
    }

    /// Whether something here needs the master key: states, or keys of the host's own.
    func needsMasterKey() throws(Failure) -> Bool {
        if access(paths.authorityKey, F_OK) == 0 || access(paths.attestationKey, F_OK) == 0 { return true }
        return try hasStates()
    }

    /// Runs `body` with the lock that keeps others from changing the keys, if anybody could have it.
    func withKeysLock<Result>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        guard access(paths.leases, F_OK) == 0 else { return try body() }
        return try HostContext.withKeysLock(paths, shared: true, body)
    }
}

/// The configuration, and what it leads to.
enum KeyChecks {
    /// The configuration file.
    static func configuration(_ host: Host) throws(Failure) -> Finding {
        let path = host.configurationPath ?? Configuration.standardPath
        do {
            _ = try host.configuration()
        } catch {
            return .refusal(error, remedy: "mend \(path): docs/configuration.md")
        }
        return .ok(host.exists(path) || host.configurationPath != nil ? path : "no \(path): the defaults")
    }

    /// Whether the master key can be loaded.
    static func masterKey(_ host: Host) throws(Failure) -> Finding {
        try host.requireRoot()
        let configuration = try host.configuration()
        if case .credential(let name, nil) = configuration.key, host.credentialsDirectory == nil {
            return .unknown(
                "the credential \(name) is for services alone",
                remedy: "systemd-run --pipe --wait -p LoadCredential=… vtpmctl doctor; or set key.directory"
            )
        }
        if try !host.needsMasterKey(), let path = keyFile(configuration, host), access(path, F_OK) != 0 {
            return .ok("\(host.withoutRoot(path)) is made for the first container")
        }
        let provider = MasterKeyProvider(
            configuration,
            keysPath: host.paths.keys,
            credentialsDirectory: host.credentialsDirectory
        )
        do {
            let ids = try host.withKeysLock { () throws(Failure) in
                try provider.load(isFirstUse: false).all.map { String(Hexadecimal.encode($0.id).prefix(8)) }
            }
            return .ok("\(ids.joined(separator: ", and the one before it, ")) can be loaded")
        } catch {
            return .refusal(error, remedy: "vtpmctl key show; restore it, or vtpmctl key import")
        }
    }

    /// Returns the path of the file in which the key is kept; nil if it comes from elsewhere.
    private static func keyFile(_ configuration: Configuration, _ host: Host) -> String? {
        switch configuration.key {
        case .file(let path): path
        case .hostTPM: "\(host.paths.keys)/master.sealed"
        case .credential, .command: nil
        }
    }

    /// The host's TPM, if the configuration uses it.
    static func hostTPM(_ host: Host) throws(Failure) -> Finding {
        let configuration = try host.configuration()
        let isUsed = [configuration.key, configuration.nextKey].contains(.hostTPM)
        guard isUsed || configuration.rollback.counter == .hostTPM else { return .ok("not used") }
        do {
            let path = try HostTPM.findDevice(configured: configuration.hostTPM.device, sys: "\(host.root)/sys")
            try host.requireRoot()
            let index = configuration.rollback.nvIndex
            let hasCounter = try HostTPM.open(configured: path).counterExists(index)
            guard configuration.rollback.counter == .hostTPM else { return .ok("\(path) answers") }
            let isNew = try !host.needsMasterKey()
            guard hasCounter || isNew else {
                return .refusal(
                    "\(path) answers, and has no counter at 0x\(String(index, radix: 16))",
                    remedy: "if that is meant: vtpmctl state accept --all"
                )
            }
            return .ok("\(path) answers, \(hasCounter ? "and has our counter" : "and has no counter yet")")
        } catch {
            return .refusal(error, remedy: "docs/operations.md, \"The master key in the host's TPM\"")
        }
    }

    /// Whether each state could be started.
    static func states(_ host: Host) throws(Failure) -> Finding {
        try host.requireRoot()
        guard try host.hasStates() else { return .ok("none yet") }
        let configuration = try host.configuration()
        let results = try host.withKeysLock { () throws(Failure) in
            try HostContext(host.paths, configuration, credentialsDirectory: host.credentialsDirectory)
                .repository().verifyAll()
        }
        let bad = results.filter { $0.problem != nil }
        guard let first = bad.first, let problem = first.problem else { return .ok("\(results.count), all good") }
        return .refusal(
            "\(bad.count) of \(results.count) cannot be used, such as \(first.stateID.excerpt): \(problem.why)",
            remedy: problem.hint ?? "vtpmctl state verify"
        )
    }
}
