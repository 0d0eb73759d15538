import CLinux
import Crypto
import Glibc
import Platform

/// A state's directory and the lock of the state, which this process has.
package struct LockedState: ~Copyable {
    let directory: Descriptor
    let lock: StateLock
    /// Whether this process has made the directory.
    package let isMade: Bool
}

/// The creation of states.
///
/// A state begins with an empty directory and a record in the index with generation 0. The state's own lock is held from
/// then on, so states are made at the same time. The file comes with the first write, which is complete. So a directory
/// without a file is one whose state was never complete if its record has generation 0; otherwise the state is lost.
extension StateRepository {
    /// Locks a state; makes its directory, which is not synced, if there is none.
    ///
    /// Throws a ``Failure`` with EWOULDBLOCK if the state has another user until the deadline.
    func lock(
        _ name: String,
        of stateID: String,
        until deadline: Deadline,
        checkCancellation: CancellationCheck = {}
    ) throws(Failure) -> LockedState {
        while true {
            var isMade = false
            if try directory.status(of: name, path(of: name)) == nil {
                do throws(Failure) {
                    try disk.makeDirectory(name, in: directory, as: path(of: name))
                    isMade = true
                } catch let error where error.code == EEXIST {}
            }
            guard let found = try open(name) else { continue }
            if let state = try lock(found, name, stateID, isMade: isMade, deadline, checkCancellation) { return state }
        }
    }

    /// Returns nil if the directory or its lock was removed meanwhile.
    private func lock(
        _ directory: consuming Descriptor,
        _ name: String,
        _ stateID: String,
        isMade: Bool,
        _ deadline: Deadline,
        _ checkCancellation: CancellationCheck
    ) throws(Failure) -> LockedState? {
        do throws(Failure) {
            let lock = try StateLock(
                in: directory,
                of: stateID,
                until: deadline,
                checkCancellation: checkCancellation
            )
            guard try isCurrent(directory, lock, name) else { return nil }
            return LockedState(directory: directory, lock: lock, isMade: isMade)
        } catch let error where error.code == ENOENT && !deadline.hasPassed {
            // No file can be made in a directory that has been removed.
            return nil
        }
    }

    /// Returns whether a directory and a lock in it still have the names by which they were found.
    func isCurrent(
        _ directory: borrowing Descriptor,
        _ lock: borrowing StateLock,
        _ name: String
    ) throws(Failure) -> Bool {
        let path = path(of: name)
        guard let found = try self.directory.status(of: name, path) else { return false }
        let own = try directory.status(path)
        guard found.st_dev == own.st_dev, found.st_ino == own.st_ino else { return false }
        return try lock.isNamed(in: directory)
    }

    /// Records a new state in the index with generation 0, before there is anything of it but its directory.
    ///
    /// `check` reads the index and throws if the state must not be made. The lock of all states is held. `isMade` says that
    /// the directory is new.
    package func begin(
        _ header: StateFile,
        _ name: String,
        isMade: Bool = false,
        check: (inout IndexTransaction, _ entry: IndexEntry?) throws(Failure) -> Void
    ) throws(Failure) {
        // Who has removed a file from the directory may have been killed before the sync, and an earlier instance must not
        // reappear in place of the new one.
        if !isMade, let found = try open(name) { try disk.synchronize(found, as: path(of: name)) }
        // The same of who has made the directory, or has removed another of this name.
        try disk.synchronize(directory, as: path(of: name))
        try index.transact(isFirstUse: { () throws(Failure) in try isEmpty() }) { (records) throws(Failure) in
            let entry = try records.entry(name)
            try check(&records, entry)
            try records.set(IndexEntry(stateID: header.stateID, uuid: header.uuid, generation: 0))
        }
        // Only after the index has confirmed that there is nothing to lose.
        try removeLeftovers(of: name)
    }

    /// Begins the state of a start; its file comes with the first write.
    func begin(
        _ header: StateFile,
        _ name: String,
        formerly formerID: String?,
        in state: borrowing LockedState,
        until deadline: Deadline,
        checkCancellation: CancellationCheck
    ) throws(Failure) {
        let path = path(of: name)
        do throws(Failure) {
            try withCreationLock(shared: true, until: deadline, checkCancellation: checkCancellation) {
                () throws(Failure) in
                // A directory without a file is removed without the lock of all states.
                guard try isCurrent(state.directory, state.lock, name) else { throw Self.removedMeanwhile(path) }
                try begin(header, name, isMade: state.isMade) { (records, entry) throws(Failure) in
                    try refuseAnew(header.stateID, formerly: formerID) { (name) throws(Failure) in
                        try records.entry(name)
                    }
                    try requireNotBeingRenamed(entry, "cannot create the state \(path)")
                    if let entry, entry.generation > 0 { throw Self.lost(path) }
                }
            }
        } catch {
            if state.isMade { try? removeEmpty(state.directory, name) }
            throw error
        }
    }

    /// Creates a state with its file, which is complete; `begin` changes the index before.
    ///
    /// The state is locked before: a start may just be making one, and the index has that one's record.
    package func make(
        _ header: StateFile,
        _ payload: StatePayload,
        _ name: String,
        begin: (borrowing LockedState) throws(Failure) -> Void
    ) throws(Failure) {
        let state = try lock(name, of: header.stateID, until: Deadline(milliseconds: 1000))
        do throws(Failure) {
            guard try !hasFile(name) else {
                throw Failure("cannot create the state \(path(of: name))", because: "there is one")
            }
            try begin(state)
            let keys = try keys.instanceKeys(of: header, header.stateID, path: filePath(name))
            try write(header, payload, keys, in: state.directory, path: filePath(name))
            try disk.synchronize(directory, as: path(of: name))
        } catch {
            if state.isMade, (try? hasFile(name)) == false { try? removeEmpty(state.directory, name) }
            throw error
        }
    }

    /// Takes the lock of a state for an operator, as ``StateLock/forOperator(in:of:)`` does.
    ///
    /// Throws a ``Failure`` with EWOULDBLOCK also if the state was removed meanwhile, and perhaps made again.
    package func lockForOperator(
        _ directory: borrowing Descriptor,
        _ name: String,
        of stateID: String
    ) throws(Failure) -> StateLock {
        let lock = try StateLock.forOperator(in: directory, of: stateID)
        guard try isCurrent(directory, lock, name) else { throw Self.removedMeanwhile(path(of: name)) }
        return lock
    }

    private static func removedMeanwhile(_ path: String) -> Failure {
        Failure("cannot use the state \(path)", because: "it was removed meanwhile", code: EWOULDBLOCK)
    }

    /// Removes the directory of a state that has no file; the state's lock is held.
    ///
    /// Who waits for the lock, or comes to take a new one meanwhile, notices it by ``isCurrent(_:_:_:)``. A directory in
    /// which somebody has made a new lock stays.
    func removeEmpty(_ directory: borrowing Descriptor, _ name: String) throws(Failure) {
        try RemovedState.removeDirectory(directory, name, in: self.directory, disk, path: path(of: name))
    }

    // MARK: - States without a file

    /// Returns whether a state has a file.
    package func hasFile(_ name: String) throws(Failure) -> Bool { try Self.hasFile(name, in: directory) }

    /// Returns whether there is a file of a state with this ID in the states directory.
    public static func hasFile(of stateID: String, in states: borrowing Descriptor) throws(Failure) -> Bool {
        try hasFile(StateDirectoryName.encoded(stateID), in: states)
    }

    /// Returns whether something in the states directory has a state's file in it, or is no directory.
    static func hasFile(_ name: String, in states: borrowing Descriptor) throws(Failure) -> Bool {
        let file = "\(name)/\(StateStore.fileName)"
        if faccessat(states.number, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0 { return true }
        let code = errno
        if code == ENOENT { return false }
        if code == ENOTDIR { return true }
        throw Failure("cannot open a state", call: "faccessat", code: code)
    }

    /// Returns whether a state was only begun: the index has it with generation 0, and it has no file.
    ///
    /// One that the index does not have yet is known by its directory, which has nothing in it but what a start makes first.
    package func isOnlyBegun(_ name: String) throws(Failure) -> Bool {
        guard try !hasFile(name) else { return false }
        if let entry = try index.entry(name) { return entry.generation == 0 }
        guard let directory = try open(name) else { return false }
        return try Set(entries(of: directory, path(of: name))).isSubset(of: [StateLock.name, StateStore.temporaryName])
    }

    /// The error about a state that only the index has.
    static func lost(_ path: String) -> Failure {
        Failure(
            "cannot load the state \(path)",
            because: "it existed and is missing",
            hint: "restore it from a backup, or begin anew: vtpmctl state reset"
        )
    }
}

/// The directory of a state that has no file any more.
enum RemovedState {
    /// Removes a state's directory, without a sync; returns false if somebody has begun to use it again.
    @discardableResult
    static func removeDirectory(
        _ directory: borrowing Descriptor,
        _ name: String,
        in states: borrowing Descriptor,
        _ disk: any Disk,
        path: String
    ) throws(Failure) -> Bool {
        for file in [StateStore.temporaryName, StateLock.name] {
            try disk.removeFile(file, in: directory, as: path)
        }
        do throws(Failure) {
            try disk.removeDirectory(name, in: states, as: path)
        } catch let error where error.code == ENOTEMPTY {
            return false
        }
        return true
    }
}
