import ArgumentParser
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys
import RuntimeState
import RuntimeTransfer

/// The host's master keys.
struct KeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Shows, changes and saves the master key.",
        subcommands: [KeyShow.self, KeyRotate.self, KeyExport.self, KeyImport.self]
    )
}

extension HostOptions {
    /// The host's keys, as the configuration says.
    fileprivate func keychain() throws(Failure) -> Keychain {
        Keychain(
            try configuration(),
            keysPath: try installation().keys,
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
        try report { () throws(Failure) in
            let lock = try HostStore.lockKeys(host.installation(), shared: true)
            defer { withExtendedLifetime(lock) {} }
            for key in try host.keychain().load(isFirstUse: false).all { print(StateName.hexadecimal(key.id)) }
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
        try report { () throws(Failure) in
            try confirmation.require("change the master key", typing: "rotate")
            let installation = try host.installation()
            let only = try HostStore.lockRotation(installation)
            defer { withExtendedLifetime(only) {} }
            do {
                // Whoever has loaded the one key alone is done with it when this lock is held; all others know both.
                let lock = try HostStore.lockKeys(installation, shared: false)
                defer { withExtendedLifetime(lock) {} }
                guard try HostStore.isUsed(installation) else {
                    throw Failure("cannot change the master key", because: "this host has no states yet")
                }
                try host.keychain().makeNext()
            }
            let rotation: KeyRotation
            do {
                let lock = try HostStore.lockKeys(installation, shared: true)
                defer { withExtendedLifetime(lock) {} }
                let repository = try host.open(installation).repository()
                let quarantine = Quarantine(installation.quarantine)
                rotation = KeyRotation(repository, quarantine: quarantine, leases: installation.leases)
                try describe(rotation.run(), repository)
            }
            let lock = try HostStore.lockKeys(installation, shared: false)
            defer { withExtendedLifetime(lock) {} }
            let remaining = try rotation.remaining()
            guard remaining.isEmpty else {
                throw Failure(
                    "cannot give up the old master key",
                    because: "\(remaining.count) states need it, such as \(remaining[0])",
                    remedy: "run vtpmctl key rotate again"
                )
            }
            let todo = try host.keychain().finishRotation(to: rotation.keyID)
            print("Save the new key: vtpmctl key export. An export of the old one opens older backups alone.")
            if let todo { print("Now \(todo). Look at [rollback] too: its default goes with the key's source.") }
        }
    }

    private func describe(_ report: KeyRotation.Report, _ repository: StateRepository) throws(Failure) {
        print(
            "Went to the master key \(StateName.hexadecimal(repository.keys.current.id)): "
                + "\(report.atRest) states at rest, \(report.running) of running containers."
        )
        for failure in report.refused { complain("vtpmctl: \(failure)") }
        for path in report.undecryptable { print("Left alone, since no key here opens it: \(path.onOneLine)") }
        guard report.refused.isEmpty else {
            throw Failure(
                "cannot give up the old master key",
                because: "\(report.refused.count) states could not be written under the new one, see above",
                remedy: "restore, accept, reset or purge them, and run vtpmctl key rotate again"
            )
        }
    }
}

struct KeyExport: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Writes the master key into an encrypted file, to be kept elsewhere.",
        discussion: """
            A key that is sealed to the host's TPM is lost when the PCRs of the policy change, with a firmware update for \
            example, or the TPM is cleared or replaced. This file is the way back: vtpmctl key import.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The file to be made.")
    var file: String
    @Option(help: "Encrypt with the passphrase in this file; - is standard input.")
    var passphraseFile: String?
    @Option(help: "Encrypt to this public key: X25519, P-256 or P-384, PEM.")
    var recipient: String?

    func validate() throws {
        guard (passphraseFile != nil) != (recipient != nil) else {
            throw ValidationError("Give one of --passphrase-file and --recipient.")
        }
    }

    func run() throws {
        try report { () throws(Failure) in
            let lock = try HostStore.lockKeys(host.installation(), shared: true)
            defer { withExtendedLifetime(lock) {} }
            let ring = try host.keychain().load(isFirstUse: false)
            let protection = try protection(passphraseFile: passphraseFile, recipient: recipient)
            let content = ExportedState(stateID: exportName, permanent: try KeyMaterial.encode(ring.current))
            let sealed = try StateExport.seal(content, with: protection)
            let bytes = try SecretBytes(capacity: sealed.count)
            _ = bytes.append(copying: sealed)
            try writeNew(file, bytes)
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
    @Argument(help: "The file.")
    var file: String
    @Option(help: "The file with the passphrase of the export; - is standard input.")
    var passphraseFile: String?
    @Option(help: "The private key that the export was made for, PEM.")
    var identity: String?

    func validate() throws {
        guard (passphraseFile != nil) != (identity != nil) else {
            throw ValidationError("Give one of --passphrase-file and --identity.")
        }
    }

    func run() throws {
        try report { () throws(Failure) in
            try confirmation.require("replace the master key", typing: "import")
            let content = try readSecret(file, limit: StateExport.fileLimit)
            let opener = try opener(passphraseFile: passphraseFile, identity: identity, for: file)
            let opened = try StateExport.open(content.withBytes { Array($0) }, with: opener, path: file)
            guard opened.stateID == exportName else {
                throw Failure("cannot import the master key", because: "\(file) holds a state, not a master key")
            }
            let key = try KeyMaterial.parse(opened.permanent, "the master key in \(file)")
            let installation = try host.installation()
            let lock = try HostStore.lockKeys(installation, shared: false)
            defer { withExtendedLifetime(lock) {} }
            try HostStore.requireKey(key, installation)
            try host.keychain().replace(with: key)
        }
    }
}

/// What an export of a master key has in place of a state's ID.
private let exportName = "container-vtpm master key"

/// What a new export is protected with.
func protection(passphraseFile: String?, recipient: String?) throws(Failure) -> ExportProtection {
    if let passphraseFile { return .passphrase(try readPassphrase(passphraseFile)) }
    let path = recipient ?? ""
    return .recipient(publicKeyPEM: try Descriptor.open(path, .read).readAll(limit: 65536, path))
}

/// What an export is opened with.
func opener(passphraseFile: String?, identity: String?, for file: String) throws(Failure) -> ExportOpener {
    if let passphraseFile { return .passphrase(try readPassphrase(passphraseFile)) }
    if let identity { return .identity(privateKeyPEM: try readSecret(identity, limit: 65536)) }
    throw Failure("cannot import \(file)", because: "no key is given", remedy: "--passphrase-file or --identity")
}
