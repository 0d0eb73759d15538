import ArgumentParser
import Crypto
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys
import RuntimePool
import RuntimeState
import RuntimeTransfer

/// The commands for the host's master keys.
struct KeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Shows, changes and saves the master key.",
        subcommands: [KeyShow.self, KeyRotate.self, KeyExport.self, KeyImport.self]
    )
}

extension HostOptions {
    /// Returns the provider of the keys that the configuration names.
    fileprivate func keychain() throws(Failure) -> MasterKeyProvider {
        MasterKeyProvider(
            try configuration(),
            keysPath: try hostPaths().keys,
            credentialsDirectory: HostOptions.credentialsDirectory
        )
    }
}

struct KeyShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Prints the ids of the master keys, the current one first."
    )

    @OptionGroup var host: HostOptions

    func run() throws {
        try report("reading the master keys") { () throws(Failure) in
            try HostContext.withKeysLock(host.hostPaths(), shared: true) { () throws(Failure) in
                let keys = try host.keychain().load(isFirstUse: false).all
                try Output.write(lines: keys.map { Hexadecimal.encode($0.id) })
            }
        }
    }
}

struct KeyRotate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Takes all states to another master key.",
        discussion: """
            Goes to the key of the table [key.next] of the configuration or, without it, to a new key of the same source. \
            Containers keep running. It can be interrupted anywhere: run it again. Backups of states that were made before \
            need the old key.
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var confirmation: ConfirmationOptions

    func run() throws {
        try report("changing the master key") { () throws(Failure) in
            try confirmation.require("change the master key", typing: "rotate")
            var told: [String] = []
            do throws(Failure) {
                try rotate(&told)
            } catch {
                // The rotation's error is more important than an error of this output.
                try? Output.write(lines: told)
                throw error
            }
            try Output.write(lines: told)
        }
    }

    /// Rotates the key, and collects the output, which is written only at the end.
    ///
    /// A rotation must not stop halfway because standard output cannot be written.
    private func rotate(_ told: inout [String]) throws(Failure) {
        let hostPaths = try host.hostPaths()
        try HostContext.withRotationLock(hostPaths) { () throws(Failure) in
            // This exclusive lock waits for the processes that have loaded only the old key. All later ones load both.
            try HostContext.withKeysLock(hostPaths, shared: false) { () throws(Failure) in
                guard try HostContext.needsMasterKey(hostPaths) else {
                    throw Failure("cannot change the master key", because: "this host has no states yet")
                }
                try host.keychain().makeNext()
            }
            let rotation = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                let opened = try host.open(hostPaths)
                let repository = try opened.repository()
                let quarantine = Quarantine(hostPaths.quarantine)
                let rotation = KeyRotation(repository, quarantine: quarantine, leases: hostPaths.leases)
                Progress.begin("writing states under the new master key")
                let report = try rotation.run { total in Progress.step(of: total) }
                told += describe(report, repository)
                try check(report)
                try AuthorityKeyFile(hostPaths).rewrap(opened.keys)
                if try !AttestationKeyFile(hostPaths).rewrap(opened.keys) {
                    complain("vtpmctl: the attestation key needs another master key: enroll the host again, with --new")
                }
                // It is filled again under the new key. What stays is of no use to anybody.
                do { try TPMPool(hostPaths).clear() } catch { complain("vtpmctl: \(error)") }
                return rotation
            }
            try HostContext.withKeysLock(hostPaths, shared: false) { () throws(Failure) in
                try finish(rotation, &told)
            }
        }
    }

    private func finish(_ rotation: KeyRotation, _ told: inout [String]) throws(Failure) {
        let remaining = try rotation.remaining()
        guard remaining.isEmpty else {
            throw Failure(
                "cannot give up the old master key",
                because: "\(remaining.count) states need it, such as \(remaining[0])",
                hint: "run vtpmctl key rotate again"
            )
        }
        let todo = try host.keychain().finishRotation(to: rotation.keyID)
        told.append("Save the new key: vtpmctl key export. An export of the old one opens older backups alone.")
        if let todo { told.append("Now \(todo). Look at [rollback] too: its default goes with the key's source.") }
    }

    private func describe(_ report: KeyRotation.Report, _ repository: StateRepository) -> [String] {
        let done =
            "Went to the master key \(Hexadecimal.encode(repository.keys.current.id)): "
            + "\(report.atRest) states at rest, \(report.running) of running containers."
        return [done] + report.undecryptable.map { "Left alone, since no key here opens it: \($0.onOneLine)" }
    }

    private func check(_ report: KeyRotation.Report) throws(Failure) {
        for failure in report.strangers { complain("vtpmctl: passed over: \(failure)") }
        for failure in report.refused { complain("vtpmctl: \(failure)") }
        guard report.refused.isEmpty else {
            throw Failure(
                "cannot give up the old master key",
                because: "\(report.refused.count) states could not be written under the new one, see above",
                hint: "restore, accept, reset or purge them, and run vtpmctl key rotate again"
            )
        }
    }
}

struct KeyExport: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Writes the master key into an encrypted file, to be kept elsewhere.",
        discussion: """
            The key of the host's certificate authority goes with it, if that has been made. \
            A key that is sealed to the host's TPM is lost when the PCRs of the policy change, with a firmware update for \
            example, or the TPM is cleared or replaced. This file is the way back: vtpmctl key import.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The file to be made; - is standard output.", completion: .file())
    var file: String
    @Option(help: "Encrypt with the passphrase in this file; - is standard input.", completion: .file())
    var passphraseFile: String?
    @Option(
        help: "Encrypt to this public key: X25519, P-256 or P-384, PEM; - is standard input.",
        completion: .file()
    )
    var recipient: String?

    func validate() throws {
        guard (passphraseFile != nil) != (recipient != nil) else {
            throw ValidationError("Give one of --passphrase-file and --recipient.")
        }
    }

    func run() throws {
        try report("exporting the master key") { () throws(Failure) in
            try HostContext.withKeysLock(host.hostPaths(), shared: true) { () throws(Failure) in
                let ring = try host.keychain().load(isFirstUse: false)
                let protection = try protection(passphraseFile: passphraseFile, recipient: recipient)
                let content = ExportedState(
                    stateID: masterKeyName,
                    permanent: try KeyMaterial.encode(ring.current),
                    authority: try AuthorityKeyFile(host.hostPaths()).copy(ring)
                )
                try writeNew(file, sealed(content, with: protection))
            }
        }
    }
}

struct KeyImport: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Takes the master key from a file that `vtpmctl key export` wrote.",
        discussion: """
            For the sources file and host-tpm, where the key is missing or the host's TPM does not give it out any more. \
            With host-tpm the key is sealed anew, to the PCRs as they are now.
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var confirmation: ConfirmationOptions
    @Argument(help: "The file; - is standard input.", completion: .file())
    var file: String
    @Option(help: "The file with the passphrase of the export; - is standard input.", completion: .file())
    var passphraseFile: String?
    @Option(help: "The private key that the export was made for, PEM; - is standard input.", completion: .file())
    var identity: String?

    func validate() throws {
        guard (passphraseFile != nil) != (identity != nil) else {
            throw ValidationError("Give one of --passphrase-file and --identity.")
        }
        try requireOneReader(of: [file, passphraseFile, identity])
    }

    func run() throws {
        try report("importing the master key") { () throws(Failure) in
            try confirmation.require("replace the master key", typing: "import")
            let content = try readSecret(file, limit: StateExport.fileLimit)
            let opener = try opener(passphraseFile: passphraseFile, identity: identity, for: file)
            let opened = try StateExport.open(content.withBytes { Array($0) }, with: opener, path: file)
            guard opened.stateID == masterKeyName else {
                throw Failure(
                    "cannot import the master key",
                    because: "\(file) holds a state, not a master key",
                    hint: "vtpmctl state import"
                )
            }
            let key = try KeyMaterial.parse(opened.permanent, "the master key in \(file)")
            let hostPaths = try host.hostPaths()
            try HostContext.withKeysLock(hostPaths, shared: false) { () throws(Failure) in
                try HostContext.requireKey(key, hostPaths)
                try host.keychain().replace(with: key)
                guard let authority = opened.authority else { return }
                guard try AuthorityKeyFile(hostPaths).restore(authority, KeyRing(key)) else {
                    return complain("vtpmctl: the host has another certificate authority, which stays")
                }
            }
        }
    }
}

/// The text that an export of a master key has in place of a state's ID.
let masterKeyName = "container-vtpm master key"

/// Seals an export; returns the content of its file.
func sealed(_ content: ExportedState, with protection: ExportProtection) throws(Failure) -> SecretBytes {
    let sealed = try StateExport.seal(content, with: protection)
    let bytes = try SecretBytes(capacity: sealed.count)
    _ = bytes.append(copying: sealed)
    return bytes
}

/// Returns the protection of a new export; reads the passphrase, or the public key from a PEM file.
func protection(passphraseFile: String?, recipient: String?) throws(Failure) -> ExportProtection {
    if let passphraseFile { return .passphrase(try readNewPassphrase(passphraseFile)) }
    return .recipient(publicKeyPEM: try readSecret(recipient ?? "", limit: 65536).withBytes { Array($0) })
}

/// Returns the credential that opens an export; reads the passphrase, or the private key from a PEM file.
func opener(passphraseFile: String?, identity: String?, for file: String) throws(Failure) -> ExportCredential {
    if let passphraseFile { return .passphrase(try readPassphrase(passphraseFile)) }
    if let identity { return .identity(privateKeyPEM: try readSecret(identity, limit: 65536)) }
    throw Failure("cannot import \(file)", because: "no key is given", hint: "--passphrase-file or --identity")
}
