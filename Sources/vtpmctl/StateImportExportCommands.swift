import ArgumentParser
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeState
import RuntimeTransfer

/// The options for the key of swtpm's files.
struct SWTPMKeyOptions: ParsableArguments {
    @Option(
        help: "A file with swtpm's key: 16 or 32 bytes, or as many in hexadecimal digits; - is standard input.",
        completion: .file()
    )
    var swtpmKeyFile: String?
    @Option(
        help: "A file with the passphrase that swtpm derives its key from (kdf=pbkdf2); - is standard input.",
        completion: .file()
    )
    var swtpmPassphraseFile: String?

    /// Throws if both options are given, or one of them without `--swtpm`.
    ///
    /// An option without effect must be an error, since somebody relies on it.
    func validate(_ isUsed: Bool) throws {
        guard isUsed || swtpmKeyFile == nil && swtpmPassphraseFile == nil else {
            throw ValidationError("A key of swtpm's is for --swtpm.")
        }
        guard swtpmKeyFile == nil || swtpmPassphraseFile == nil else {
            throw ValidationError("Give one of --swtpm-key-file and --swtpm-passphrase-file.")
        }
    }

    func key() throws(Failure) -> SWTPMKey? {
        if let swtpmKeyFile { return .keyFile(try readSecret(swtpmKeyFile, limit: 4096)) }
        // swtpm uses the whole file as the passphrase, including a line feed at its end.
        return try swtpmPassphraseFile.map { (path) throws(Failure) in .passphrase(try readSecret(path, limit: 4096)) }
    }
}

struct StateExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Writes a state into a file for another host, or for swtpm.",
        discussion: """
            The state must not be in use, and stays here: two hosts that start it are two of one identity. Reset or purge \
            it here once it is there.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The state's ID.", completion: .states)
    var stateID: String
    @Argument(help: "The file to be made; - is standard output.", completion: .file())
    var file: String
    @Option(help: "Encrypt with the passphrase in this file; - is standard input.", completion: .file())
    var passphraseFile: String?
    @Option(
        help: "Encrypt to this public key: X25519, P-256 or P-384, PEM; - is standard input.",
        completion: .file()
    )
    var recipient: String?
    @Flag(help: "Write swtpm's tpm2-00.permall; without a key of swtpm's, in clear.")
    var swtpm = false
    @OptionGroup var swtpmKey: SWTPMKeyOptions

    func validate() throws {
        let ways = [passphraseFile != nil, recipient != nil, swtpm].filter { $0 }.count
        guard ways == 1 else { throw ValidationError("Give one of --passphrase-file, --recipient, --swtpm.") }
        try swtpmKey.validate(swtpm)
    }

    func run() throws {
        try report("exporting the state") { () throws(Failure) in
            let permanent = try host.withRepository { (repository, _) throws(Failure) in
                try repository.exportState(stateID)
            }
            guard let permanent else { throw noState(stateID) }
            let content: SecretBytes
            if swtpm {
                content = try SWTPMState.encode(permanent, key: swtpmKey.key())
            } else {
                let protection = try protection(passphraseFile: passphraseFile, recipient: recipient)
                content = try sealed(ExportedState(stateID: stateID, permanent: permanent), with: protection)
            }
            try writeNew(file, content)
        }
    }
}

struct StateImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Makes a state of an export's file, or of swtpm's.",
        discussion: """
            There must be no state of this ID. A TPM is started from the file before anything is written. A file of \
            swtpm's has nobody's signature: be sure where it comes from.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The state's new ID.")
    var stateID: String
    @Argument(help: "The file; - is standard input.", completion: .file())
    var file: String
    @Option(help: "The file with the passphrase of the export; - is standard input.", completion: .file())
    var passphraseFile: String?
    @Option(help: "The private key that the export was made for, PEM; - is standard input.", completion: .file())
    var identity: String?
    @Flag(help: "Take swtpm's tpm2-00.permall, or the store of its file:// backend.")
    var swtpm = false
    @OptionGroup var swtpmKey: SWTPMKeyOptions

    func validate() throws {
        let ways = [passphraseFile != nil, identity != nil, swtpm].filter { $0 }.count
        guard ways == 1 else { throw ValidationError("Give one of --passphrase-file, --identity, --swtpm.") }
        try swtpmKey.validate(swtpm)
        try requireOneReader(
            of: [file, passphraseFile, identity, swtpmKey.swtpmKeyFile, swtpmKey.swtpmPassphraseFile]
        )
    }

    func run() throws {
        try report("importing the state") { () throws(Failure) in
            let permanent = try read()
            try host.withNewRepository { (repository, hostPaths) throws(Failure) in
                let stored = try TrialStart(worker: hostPaths.program("vtpm-worker")).run(permanent)
                try repository.importState(stateID, stored)
            }
        }
    }

    private func read() throws(Failure) -> SecretBytes {
        let content = try readSecret(file, limit: max(StateExport.fileLimit, SWTPMState.fileLimit))
        // The format is not detected: an export is authenticated, and a file of swtpm's in its place would not be.
        if swtpm { return try SWTPMState.decode(content, key: swtpmKey.key(), path: file) }
        let opener = try opener(passphraseFile: passphraseFile, identity: identity, for: file)
        let opened = try StateExport.open(content.withBytes { Array($0) }, with: opener, path: file)
        guard opened.stateID != masterKeyName else {
            throw Failure(
                "cannot import \(file)",
                because: "it holds a master key, not a state",
                hint: "vtpmctl key import"
            )
        }
        return opened.permanent
    }
}
