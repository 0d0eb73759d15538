import Glibc
import Platform
import RuntimeFormat
import RuntimeState
import VTPMProxy

extension StateRepository {
    /// How long to wait for others that create or remove states, in milliseconds.
    private static let timeout = 10_000

    /// Accepts a state as it is: the index records the instance and the generation on disk.
    ///
    /// It is for a state that was restored from a backup or copied here on purpose.
    public func accept(_ stateID: String) throws(Failure) {
        let name = try StateDirectoryName.encoded(stateID)
        guard let directory = try open(name) else { throw missing(stateID) }
        try lockForOperator(directory, name, of: stateID).run { () throws(Failure) in
            let (header, payload) = try load(name, stateID, in: directory)
            try settle(directory, name)
            try index.transact { (records) throws(Failure) in
                var entry = try records.entry(name) ?? IndexEntry(stateID: stateID, uuid: header.uuid, generation: 0)
                // Accepting either of the two names would leave one TPM with two names.
                try requireNotBeingRenamed(entry, "cannot accept the state \"\(stateID)\"")
                entry.uuid = header.uuid
                entry.generation = payload.isComplete ? header.generation : 0
                entry.endorsementKeys = EndorsementHead(of: payload.endorsement).keys
                try records.set(entry)
            }
        }
    }

    /// Rebuilds the index from all states as they are; returns the errors of those that it could not accept.
    ///
    /// A state that the index knew and that is missing on disk stays recorded as missing. A state that cannot be loaded
    /// keeps its record. Only a purge or a reset forgets a state. If two states have the same UUID, one of them is a
    /// copy of the other, and neither is accepted.
    public func acceptAll() throws(Failure) -> [Failure] {
        return try withCreationLock(until: Deadline(milliseconds: Self.timeout)) { () throws(Failure) in
            let (remembered, isReadable) = try rememberedAsFarAsReadable()
            var accepted = remembered
            var refused: [Failure] = []
            var seen: [[UInt8]: String] = [:]
            let names = try names()
            for name in names {
                do throws(Failure) {
                    guard let directory = try open(name) else { continue }
                    // One that has not been made yet. Without an index it may as well be lost.
                    let isNew = accepted[name].map { $0.generation == 0 } ?? isReadable
                    if isNew, try !hasFile(name) { continue }
                    let stateID = try StateFile(parsing: read(in: directory, name), path: filePath(name)).stateID
                    guard try StateDirectoryName.encoded(stateID) == name else {
                        throw Failure(
                            "cannot accept the state \(filePath(name))",
                            because: "it is that of \"\(stateID)\""
                        )
                    }
                    let (header, payload) = try loadInUse(name, stateID, in: directory)
                    if let other = seen[header.uuid] {
                        accepted[name] = nil
                        accepted[other] = nil
                        throw Failure(
                            "cannot accept the state \(filePath(name))",
                            because: "it and \(filePath(other)) are one TPM",
                            hint: "remove one of them, and accept the other"
                        )
                    }
                    seen[header.uuid] = name
                    var entry = accepted[name] ?? IndexEntry(stateID: stateID, uuid: header.uuid, generation: 0)
                    entry.uuid = header.uuid
                    entry.generation = payload.isComplete ? header.generation : 0
                    entry.endorsementKeys = EndorsementHead(of: payload.endorsement).keys
                    (entry.renamedTo, entry.renamedFrom) = ("", "")
                    accepted[name] = entry
                } catch {
                    refused.append(error)
                }
            }
            let there = Set(names)
            for (name, entry) in accepted where !there.contains(name) {
                // After an interrupted rename, each name stands for the state that is found under it.
                accepted[name]?.renamedTo = ""
                accepted[name]?.renamedFrom = ""
                guard entry.generation > 0 else {
                    accepted[name] = nil
                    continue
                }
                refused.append(
                    Failure(
                        "cannot accept the state \(filePath(name))",
                        because: "it existed and is missing",
                        hint: "restore it from a backup, or forget it: vtpmctl state reset"
                    )
                )
            }
            for name in seen.values where accepted[name] != nil {
                if let directory = try open(name) { try settle(directory, name) }
            }
            try index.rebuild(accepted.values.map { $0 })
            return refused
        }
    }

    /// Returns the index's records, as far as it is not damaged or missing.
    ///
    /// Throws any other error, which is no reason to forget the states that are missing on disk.
    private func rememberedAsFarAsReadable() throws(Failure) -> (entries: [String: IndexEntry], isReadable: Bool) {
        var found: [String: IndexEntry] = [:]
        do throws(Failure) {
            try index.each { (entry) throws(Failure) in found[try StateDirectoryName.encoded(entry.stateID)] = entry }
        } catch {
            let foreign = FileFormat.index.foreign
            let isUnreadable = ["damaged", "truncated", "missing", foreign].contains { error.why.contains($0) }
            guard error.code == nil, isUnreadable else { throw error }
            return (found, false)
        }
        return (found, true)
    }

    /// Gives a state another ID; completes a rename that was interrupted.
    ///
    /// The state is written under the new name, the old one is removed, and the index is changed last. Until then
    /// neither name can be started.
    public func rename(_ stateID: String, to newID: String) throws(Failure) {
        let (name, newName) = (try StateDirectoryName.encoded(stateID), try StateDirectoryName.encoded(newID))
        let what = "cannot rename the state \"\(stateID)\""
        guard name != newName else { throw Failure(what, because: "it has that name") }
        try withCreationLock(until: Deadline(milliseconds: Self.timeout)) { () throws(Failure) in
            try sweep()
            if let directory = try open(name) {
                try lockForOperator(directory, name, of: stateID).run { () throws(Failure) in
                    try move(directory, stateID, to: newID, what)
                }
            } else {
                guard let entry = try index.transact({ (records) throws(Failure) in try records.entry(name) }),
                    isBeingRenamed(entry, to: newID)
                else { throw missing(stateID) }
                try requireCopy(newName, newID, of: entry.uuid, what)
            }
            let generation = try generation(newName, newID)
            try index.transact { (records) throws(Failure) in
                guard var entry = try records.remove(name) else { return }
                entry.stateID = newID
                entry.renamedTo = ""
                entry.generation = generation
                try records.set(entry)
            }
        }
    }

    /// Writes a state under another name, unless that was done already, and removes it under its own.
    private func move(
        _ directory: borrowing Descriptor,
        _ stateID: String,
        to newID: String,
        _ what: String
    ) throws(Failure) {
        let (name, newName) = (try StateDirectoryName.encoded(stateID), try StateDirectoryName.encoded(newID))
        let (header, payload) = try load(name, stateID, in: directory)
        let isTaken = try hasFile(newName)
        let announce = { () throws(Failure) in
            try self.announceMove(of: header, name, to: newID, newName, isTaken: isTaken, what)
        }
        if isTaken {
            try announce()
            try requireCopy(newName, newID, of: header.uuid, what)
        } else {
            var copy = try header.next(keyID: keys.current.id)
            copy = StateFile(keyID: copy.keyID, uuid: header.uuid, generation: copy.generation, stateID: newID)
            try make(copy, payload, newName) { (_) throws(Failure) in try announce() }
        }
        try removeDirectory(name)
    }

    /// Records that a state is being renamed, if nothing is in the way; both names' records say so.
    private func announceMove(
        of header: StateFile,
        _ name: String,
        to newID: String,
        _ newName: String,
        isTaken: Bool,
        _ what: String
    ) throws(Failure) {
        try index.transact { (records) throws(Failure) in
            var entry = try records.entry(name)
            let isBegun = isBeingRenamed(entry, to: newID)
            if isBegun { entry?.renamedTo = "" }
            try check(header, against: entry, path: filePath(name))
            let target = try records.entry(newName)
            guard isBegun || !isTaken && target?.generation ?? 0 == 0 else {
                throw Failure(what, because: "there is a state \"\(newID)\"")
            }
            if !isBegun { try requireNotBeingRenamed(target, what) }
            try records.update(name) { $0.renamedTo = newID }
            var new = IndexEntry(stateID: newID, uuid: header.uuid, generation: 0, renamedFrom: header.stateID)
            new.endorsementKeys = entry?.endorsementKeys ?? []
            try records.set(new)
        }
    }

    /// Removes a state for ever; throws a ``Failure`` if it is in use or being renamed.
    public func purge(_ stateID: String) throws(Failure) {
        try forget(stateID, then: { (name) throws(Failure) in try removeDirectory(name) })
    }

    /// Moves a state to the quarantine, so that the next start creates a new TPM; returns its new path.
    ///
    /// Returns nil if the state was missing, and only the index had a record of it.
    public func reset(_ stateID: String, to quarantine: Quarantine) throws(Failure) -> String? {
        var place: String?
        // The copy exists before the index forgets the state, so no error can lose the state.
        try forget(
            stateID,
            first: { (name) throws(Failure) in place = try quarantine.copy(name, from: self) },
            then: { (name) throws(Failure) in try removeDirectory(name) }
        )
        return place
    }

    /// Removes a state's record from the index; runs `first` before and `body` after it if the state has a directory.
    ///
    /// Throws a ``Failure`` if the state is being renamed, since its TPM may already be under the other name.
    private func forget(
        _ stateID: String,
        first: (String) throws(Failure) -> Void = { (_) throws(Failure) in },
        then body: (String) throws(Failure) -> Void
    ) throws(Failure) {
        let name = try StateDirectoryName.encoded(stateID)
        try withCreationLock(until: Deadline(milliseconds: Self.timeout)) { () throws(Failure) in
            try sweep()
            let what = "cannot remove the state \"\(stateID)\""
            let directory = try open(name)
            if let directory {
                // The lock is held until the directory is gone; a state whose lock cannot be taken is in use.
                try lockForOperator(directory, name, of: stateID).run { () throws(Failure) in
                    try requireNotBeingRenamed(index.entry(name), what)
                    try first(name)
                    try index.transact { (records) throws(Failure) in
                        try requireNotBeingRenamed(records.entry(name), what)
                        try records.remove(name)
                    }
                    try body(name)
                }
            } else {
                try index.transact { (records) throws(Failure) in
                    try requireNotBeingRenamed(records.entry(name), what)
                    guard try records.remove(name) != nil else { throw missing(stateID) }
                }
            }
        }
    }

    /// Removes the leftovers of interrupted commands, of all states.
    public func removeLeftovers() throws(Failure) {
        try withCreationLock(until: Deadline(milliseconds: Self.timeout)) { () throws(Failure) in
            try sweep()
        }
    }

    /// Reads, parses and decrypts a state; throws a ``Failure`` if it is that of another ID.
    func load(
        _ name: String,
        _ stateID: String,
        in directory: borrowing Descriptor
    ) throws(Failure) -> (header: StateFile, payload: StatePayload) {
        if try isOnlyBegun(name) { throw missing(stateID) }
        let file = try read(in: directory, name)
        let header = try StateFile(parsing: file, path: filePath(name))
        let keys = try keys.instanceKeys(of: header, stateID, path: filePath(name))
        return (header, try header.decode(file, keys: keys, path: filePath(name)))
    }

    /// Compares the IDs as bytes: Swift's `==` also holds for strings that are canonically equivalent.
    private func isBeingRenamed(_ entry: IndexEntry?, to stateID: String) -> Bool {
        entry?.renamedTo.utf8.elementsEqual(stateID.utf8) ?? false
    }

    /// Returns the generation that the index has to record: 0 while the TPM has not been manufactured.
    private func generation(_ name: String, _ stateID: String) throws(Failure) -> UInt64 {
        guard let directory = try open(name) else { throw missing(stateID) }
        let (header, payload) = try load(name, stateID, in: directory)
        return payload.isComplete ? header.generation : 0
    }

    private func requireCopy(_ name: String, _ stateID: String, of uuid: [UInt8], _ what: String) throws(Failure) {
        guard let directory = try open(name) else { throw missing(stateID) }
        guard try load(name, stateID, in: directory).header.uuid == uuid else {
            throw Failure(what, because: "there is another state \"\(stateID)\"")
        }
        // Its writer may have been killed before the sync, and the original is removed next.
        try synchronize(directory, path: path(of: name))
    }
}
