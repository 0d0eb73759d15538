import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeHostTPM
import RuntimeState

/// The directories of the states and the index, and the master keys, which the hook and `vtpmctl` open first.
///
/// Hold the shared lock of the keys meanwhile (``lockKeys(_:shared:)``), so that nobody changes them.
public final class HostContext {
    /// The directory of the states.
    public let states: Descriptor
    /// The directory of the index.
    public let indexDirectory: Descriptor
    /// The master keys, two during a rotation.
    public let keys: KeyRing
    /// The counter that the index is bound to; nil if the configuration names none.
    public let counter: PersistentStorage.HostCounter?
    private let hostPaths: HostPaths

    /// Opens the directories and loads the keys that the configuration names; makes a key if nothing on the host needs one yet.
    public init(
        _ hostPaths: HostPaths,
        _ configuration: Configuration,
        credentialsDirectory: String?
    ) throws(Failure) {
        let states = try openOwnDirectory(hostPaths.states)
        let indexDirectory = try openOwnDirectory(hostPaths.index)
        try states.requireOwn(files: [], hostPaths.states)
        try indexDirectory.requireOwn(files: HostIndex.fileNames(in: indexDirectory), hostPaths.index)
        // Before the key: if there is no TPM, no key must be made.
        self.counter =
            switch configuration.rollback.counter {
            case .none: nil
            case .hostTPM:
                PersistentStorage.HostCounter(
                    device: try HostTPM.findDevice(configured: configuration.hostTPM.device),
                    handle: configuration.rollback.nvIndex
                )
            }
        let keychain = MasterKeyProvider(
            configuration,
            keysPath: hostPaths.keys,
            credentialsDirectory: credentialsDirectory
        )
        // What is encrypted under a key that is gone must not have another one made beside it.
        self.keys = try keychain.load(isFirstUse: !Self.needsMasterKey(hostPaths))
        self.states = states
        self.indexDirectory = indexDirectory
        self.hostPaths = hostPaths
    }

    /// Returns whether the host has ever had a state.
    public static func isUsed(_ hostPaths: HostPaths) throws(Failure) -> Bool {
        try !StateRepository.isUnused(
            states: openOwnDirectory(hostPaths.states),
            indexDirectory: openOwnDirectory(hostPaths.index)
        )
    }

    /// Returns whether something on the host needs the master key: a state, or one of the host's own keys.
    public static func needsMasterKey(_ hostPaths: HostPaths) throws(Failure) -> Bool {
        let hasAuthority = try AuthorityKeyFile(hostPaths).exists()
        let hasAttestationKey = try AttestationKeyFile(hostPaths).exists()
        if hasAuthority || hasAttestationKey { return true }
        return try isUsed(hostPaths)
    }

    /// Throws if the host's index needs another key than this one.
    public static func requireKey(_ key: MasterKey, _ hostPaths: HostPaths) throws(Failure) {
        let index = try HostIndex(
            in: openOwnDirectory(hostPaths.index),
            path: hostPaths.index,
            keys: KeyRing(key)
        )
        _ = try index.keyID()
    }

    /// Opens the repository, for a process that works on the states itself.
    public func repository() throws(Failure) -> StateRepository {
        let index = try HostIndex(
            in: indexDirectory.duplicate(),
            path: hostPaths.index,
            keys: keys,
            counter: counter.map { HostTPMCounter(device: $0.device, handle: $0.handle) }
        )
        return StateRepository(in: try states.duplicate(), path: hostPaths.states, keys: keys, index: index)
    }

    /// Runs `body` with the rotation lock; throws at once if another rotation holds it.
    public static func withRotationLock(
        _ hostPaths: HostPaths,
        _ body: () throws(Failure) -> Void
    ) throws(Failure) {
        let lock = try FileLock(
            directory: openOwnDirectory(hostPaths.keys),
            until: Deadline(milliseconds: 0),
            "the rotation of the master key"
        )
        try body()
        lock.release()
    }

    /// Runs `body` with the lock of the keys, taken as by ``lockKeys(_:shared:)``.
    public static func withKeysLock<Result>(
        _ hostPaths: HostPaths,
        shared: Bool,
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let lock = try lockKeys(hostPaths, shared: shared)
        let result = try body()
        lock.release()
        return result
    }

    /// Takes the lock of the keys: shared to use them, exclusive to change them.
    ///
    /// Waits up to ``MasterKeyProvider/timeout`` milliseconds.
    public static func lockKeys(_ hostPaths: HostPaths, shared: Bool) throws(Failure) -> FileLock {
        try FileLock(
            directory: openOwnDirectory(hostPaths.leases),
            shared: shared,
            until: Deadline(milliseconds: MasterKeyProvider.timeout),
            "the master keys"
        )
    }
}
