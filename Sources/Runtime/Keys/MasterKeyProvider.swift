import Configuration
import Platform
import RuntimeControl
import RuntimeState

/// The master keys of a host, from the sources in its configuration.
public struct MasterKeyProvider {
    private let source: KeySource
    private let next: KeySource?

    /// The timeout for the lock of the keys, in milliseconds.
    public static let timeout = 60_000

    /// Creates the provider for a configuration.
    ///
    /// - Parameters:
    ///   - configuration: The operator's configuration.
    ///   - keysPath: The directory of the key that is sealed to the host's TPM.
    ///   - credentialsDirectory: systemd's `$CREDENTIALS_DIRECTORY`; nil if it is not set.
    ///   - disk: The disk that files are written to.
    public init(
        _ configuration: Configuration,
        keysPath: String,
        credentialsDirectory: String?,
        disk: any Disk = LocalDisk()
    ) {
        func source(_ key: Configuration.Key) -> KeySource {
            KeySource(
                key: key,
                hostTPM: configuration.hostTPM,
                sealedPath: "\(keysPath)/master.sealed",
                credentialsDirectory: credentialsDirectory,
                disk: disk
            )
        }
        self.source = source(configuration.key)
        self.next = configuration.nextKey.map(source)
    }

    /// Loads the keys; makes one at first use.
    ///
    /// Throws if the key is missing although states or an index exist (`isFirstUse` is false): a new key could open
    /// none of them.
    public func load(isFirstUse: Bool) throws(Failure) -> KeyRing {
        let pending = try pendingKey()
        // A rotation may have been killed before it synced its key, and states will need that key.
        if pending != nil { try (next?.file ?? source.nextFile)?.synchronize() }
        if let existing = try source.load() {
            // The process that made the key may not have synced it yet, and a state will need it.
            if isFirstUse { try source.file?.synchronize() }
            return pending.map { KeyRing($0, previous: existing) } ?? KeyRing(existing)
        }
        // The operator has removed the old key of a rotation that is complete.
        if let pending { return KeyRing(pending) }
        guard let file = source.file else { preconditionFailure("the other sources have a key or an error") }
        guard isFirstUse else {
            throw Failure(
                "cannot load the master key \(file.path)",
                because: "it is missing, and the states on this host need it",
                hint: "restore the file from a backup"
            )
        }
        return KeyRing(try source.make(in: file))
    }

    /// Returns when the file with the key was last written, in seconds since 1970; nil if there is none.
    public func timeOfWriting() throws(Failure) -> UInt64? { try source.file?.timeOfChange() }

    /// Makes the new key of a rotation, unless it exists; from then on ``load(isFirstUse:)`` returns both keys.
    public func makeNext() throws(Failure) {
        if try pendingKey() != nil {
            try (next?.file ?? source.nextFile)?.synchronize()
            return
        }
        if let next {
            guard let file = next.file else { preconditionFailure("the other sources have a key or an error") }
            _ = try next.make(in: file)
        } else if let file = source.nextFile {
            _ = try source.make(in: file)
        } else {
            throw Failure(
                "cannot change the master key",
                because: "\(source.description) gives it, and the configuration names no other",
                hint: "add the table [key.next] to the configuration"
            )
        }
    }

    /// Makes the new key the only one; returns the step that is left to the operator, or nil if there is none.
    ///
    /// Call it only while nobody else uses the keys. Does nothing if another process has finished the rotation. Throws
    /// if another rotation, to another key, has begun.
    public func finishRotation(to keyID: [UInt8]) throws(Failure) -> String? {
        guard let pending = try pendingKey() else { return nil }
        guard pending.id == keyID else {
            throw Failure(
                "cannot give up the old master key",
                because: "another rotation has begun",
                hint: "run vtpmctl key rotate again"
            )
        }
        if next != nil {
            return "make [key.next] the table [key] of the configuration, and remove \(source.description)"
        }
        guard let file = source.file, let nextFile = source.nextFile else { return nil }
        try nextFile.replace(file)
        try file.sweep()
        try nextFile.sweep()
        return nil
    }

    /// Imports a key in place of one that is missing or cannot be loaded; throws if there is a key that can be loaded.
    public func replace(with key: MasterKey) throws(Failure) {
        let what = "cannot import the master key"
        guard let file = source.file else {
            throw Failure(what, because: "\(source.description) gives it")
        }
        var existing: MasterKey?
        do {
            existing = try source.load()
        } catch {
            // A key that cannot be loaded is the one to be replaced.
        }
        guard existing == nil else { throw Failure(what, because: "\(source.description) has one that can be loaded") }
        try source.replace(with: key, in: file)
        // An unfinished rotation may have left a new key that cannot be loaded either: each load would fail.
        if let nextFile = source.nextFile {
            do {
                _ = try source.load(from: nextFile)
            } catch {
                try nextFile.putAside()
            }
        }
    }

    /// Loads the new key of an unfinished rotation; returns nil if there is none.
    private func pendingKey() throws(Failure) -> MasterKey? {
        let unfinished = try source.nextFile.flatMap { (file) throws(Failure) in try source.load(from: file) }
        guard let next else { return unfinished }
        if let unfinished, try next.load()?.id != unfinished.id, let path = source.nextFile?.path {
            throw Failure(
                "cannot load the master keys",
                because: "a rotation to \(path) has not ended, and the configuration asks for another",
                hint: "take [key.next] out of the configuration, and run vtpmctl key rotate"
            )
        }
        return try next.load()
    }
}
