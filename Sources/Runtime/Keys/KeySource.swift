import Configuration
import Glibc
import Platform
import RuntimeHostTPM
import RuntimePCR
import RuntimeState

/// The source of a master key.
///
/// The sources `file` and `host-tpm` make and keep the key in a file. The sources `credential` and `command` get it
/// from elsewhere.
struct KeySource {
    let key: Configuration.Key
    let hostTPM: Configuration.HostTPM
    /// The path of the file with the key that is sealed to the host's TPM.
    let sealedPath: String
    /// systemd's `$CREDENTIALS_DIRECTORY`; nil if it is not set.
    let credentialsDirectory: String?
    let disk: any Disk

    /// Loads the key; returns nil if it has not been made yet.
    func load() throws(Failure) -> MasterKey? {
        switch key {
        case .file, .hostTPM: return try file.flatMap { (file) throws(Failure) in try load(from: file) }
        case .credential(let name, let directory): return try credential(name, directory)
        case .command(let command, let timeout): return try KeyProgram(command: command, timeout: timeout).load()
        }
    }

    /// Makes a new key in `file`, or loads the existing one.
    ///
    /// If the source already has a key that is sealed to a TPM, the new key can only be sealed to the same TPM.
    func make(in file: KeyFile) throws(Failure) -> MasterKey {
        let bytes = try SecretBytes(capacity: MasterKey.size)
        try MasterKey.fillRandom(bytes)
        let before = try self.file?.read()
        _ = try file.create(sealed(MasterKey(bytes), like: before))
        // Another process may have been faster: only the key on disk counts.
        guard let made = try load(from: file) else {
            throw Failure("cannot load the master key \(file.path)", because: "it vanished")
        }
        return made
    }

    /// Replaces the key in a file of this source; keeps the old file aside.
    func replace(with key: MasterKey, in file: KeyFile) throws(Failure) {
        try file.overwrite(sealed(key))
    }

    /// Encodes a key for this source's file, sealed if the source is the host's TPM.
    private func sealed(_ key: MasterKey, like before: SecretBytes? = nil) throws(Failure) -> SecretBytes {
        guard self.key == .hostTPM else { return try KeyMaterial.encode(key) }
        let other = try before.map { (bytes) throws(Failure) in
            try SealedSecret(decoding: bytes.withBytes { Array($0) }, path: sealedPath)
        }
        let sealed = try HostTPM.open(configured: hostTPM.device)
            .seal(key.key, pcrs: PCRSelection(parsing: hostTPM.pcrs), like: other)
            .encoded
        let content = try SecretBytes(capacity: sealed.count)
        _ = content.append(copying: sealed)
        return content
    }

    /// Loads the key from a file of this source; returns nil if there is no such file.
    func load(from file: KeyFile) throws(Failure) -> MasterKey? {
        guard let content = try file.read() else { return nil }
        guard key == .hostTPM else { return try KeyMaterial.parse(content, "the master key \(file.path)") }
        let sealed = try SealedSecret(decoding: content.withBytes { Array($0) }, path: file.path)
        return try MasterKey(HostTPM.open(configured: hostTPM.device).unseal(sealed))
    }

    /// The file with the key; nil if the key comes from elsewhere.
    var file: KeyFile? {
        switch key {
        case .file(let path): KeyFile(path: path, disk: disk)
        case .hostTPM: KeyFile(path: sealedPath, disk: disk)
        case .credential, .command: nil
        }
    }

    /// The file with the new key during `vtpmctl key rotate`; nil if the key comes from elsewhere.
    var nextFile: KeyFile? { file.map { KeyFile(path: "\($0.path).next", disk: disk) } }

    /// The source in words, for messages to the operator.
    var description: String {
        switch key {
        case .file(let path): "the file \(path)"
        case .credential(let name, _): "the credential \(name)"
        case .command(let command, _): "the command \(command[0])"
        case .hostTPM: "the host's TPM"
        }
    }

    private func credential(_ name: String, _ directory: String?) throws(Failure) -> MasterKey {
        guard let directory = directory ?? credentialsDirectory else {
            throw Failure(
                "cannot load the master key from the credential \(name)",
                because: "$CREDENTIALS_DIRECTORY is not set",
                hint: "set key.directory to the credentials directory of the engine's service"
            )
        }
        let file = KeyFile(path: "\(directory)/\(name)", disk: disk)
        guard let content = try file.read() else {
            throw Failure(
                "cannot load the master key \(file.path)",
                because: "there is no such credential",
                hint: "set LoadCredential= or LoadCredentialEncrypted= of the engine's service"
            )
        }
        return try KeyMaterial.parse(content, "the master key \(file.path)")
    }
}
