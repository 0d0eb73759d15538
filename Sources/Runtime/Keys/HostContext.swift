import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeHostTPM
import RuntimeState

/// What the hook and `vtpmctl` open first: the directories of the states and the index, and the keys.
///
/// Whoever opens it holds the lock of the keys, shared: nobody changes them meanwhile.
public final class HostContext {
    /// The directory of the states.
    public let states: Descriptor
    /// The directory of the index.
    public let indexDirectory: Descriptor
    /// The master keys.
    public let keys: KeyRing
    /// The counter that the index is bound to.
    public let counter: PersistentStorage.HostCounter?
    private let hostPaths: HostPaths

    /// Opens it, with the keys that the configuration names; where there has never been anything, a key is made.
    public init(
        _ hostPaths: HostPaths,
        _ configuration: Configuration,
        credentialsDirectory: String?
    ) throws(Failure) {
        let states = try openOwnDirectory(hostPaths.states)
        let indexDirectory = try openOwnDirectory(hostPaths.index)
        try states.requireOwn(files: [], hostPaths.states)
        try indexDirectory.requireOwn(files: HostIndex.fileNames(in: indexDirectory), hostPaths.index)
        // Before a key is made: where it fails, nothing is.
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
        let isFirstUse = try StateRepository.isUnused(states: states, indexDirectory: indexDirectory)
        self.keys = try keychain.load(isFirstUse: isFirstUse)
        self.states = states
        self.indexDirectory = indexDirectory
        self.hostPaths = hostPaths
    }

    /// Whether the host has ever had a state.
    public static func isUsed(_ hostPaths: HostPaths) throws(Failure) -> Bool {
        try !StateRepository.isUnused(
            states: openOwnDirectory(hostPaths.states),
            indexDirectory: openOwnDirectory(hostPaths.index)
        )
    }

    /// Throws where the host's index needs another key than this one.
    public static func requireKey(_ key: MasterKey, _ hostPaths: HostPaths) throws(Failure) {
        let index = try HostIndex(
            in: openOwnDirectory(hostPaths.index),
            path: hostPaths.index,
            keys: KeyRing(key)
        )
        _ = try index.keyID()
    }

    /// Everything put together, for a process that works on the states itself.
    public func repository() throws(Failure) -> StateRepository {
        let index = try HostIndex(
            in: indexDirectory.duplicate(),
            path: hostPaths.index,
            keys: keys,
            counter: counter.map { HostTPMCounter(device: $0.device, handle: $0.handle) }
        )
        return StateRepository(in: try states.duplicate(), path: hostPaths.states, keys: keys, index: index)
    }

    /// Runs `body` with the lock for one rotation at a time; throws if there is another.
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

    /// Runs `body` with the lock of the keys, as ``lockKeys(_:shared:)`` takes it.
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

    /// Takes the lock of the keys: shared while they are used, alone to change them.
    public static func lockKeys(_ hostPaths: HostPaths, shared: Bool) throws(Failure) -> FileLock {
        try FileLock(
            directory: openOwnDirectory(hostPaths.leases),
            shared: shared,
            until: Deadline(milliseconds: MasterKeyProvider.timeout),
            "the master keys"
        )
    }
}
