import Crypto
import Glibc
import Platform
import RuntimeState
import VTPMProxy

extension StateRepository {
    /// Returns the TPM's state for an export.
    ///
    /// Throws a ``Failure`` if the state is in use, incomplete, or not the one that the index knows.
    public func exportState(_ stateID: String) throws(Failure) -> SecretBytes {
        let name = try StateDirectoryName.encoded(stateID)
        guard let directory = try open(name) else { throw missing(stateID) }
        return try lockForOperator(directory, name, of: stateID).run { () throws(Failure) in
            let (header, payload) = try load(name, stateID, in: directory)
            try index.transact { (records) throws(Failure) in
                try check(header, against: records.entry(name), path: filePath(name))
            }
            guard payload.isComplete else {
                throw Failure(
                    "cannot export the state \"\(stateID)\"",
                    because: "its TPM was never manufactured completely"
                )
            }
            return payload.permanent
        }
    }

    /// Throws a ``Failure`` if there is a state of this ID, before anything is made for a new one.
    public func requireNone(_ stateID: String, to verb: String) throws(Failure) {
        let name = try StateDirectoryName.encoded(stateID)
        guard try !hasFile(name) else { throw taken(stateID, verb) }
        guard try index.entry(name)?.generation ?? 0 == 0 else { throw taken(stateID, verb) }
    }

    private func taken(_ stateID: String, _ verb: String) -> Failure {
        Failure(
            "cannot \(verb) the state \"\(stateID)\"",
            because: "there is one",
            hint: "vtpmctl state rename or reset"
        )
    }

    /// Creates a state from that of a TPM from elsewhere, or of a new one; throws a ``Failure`` if there is one of this ID.
    ///
    /// `instance` is the UUID of one that was endorsed already, with the record of that; others get one of their own.
    public func importState(
        _ stateID: String,
        _ permanent: SecretBytes,
        verb: String = "import",
        instance: [UInt8]? = nil,
        endorsement: [UInt8] = []
    ) throws(Failure) {
        let name = try StateDirectoryName.encoded(stateID)
        let uuid: [UInt8]
        if let instance { uuid = instance } else { uuid = try Random.bytes(count: StateFile.uuidSize) }
        let payload = StatePayload(permanent: permanent, isComplete: true, endorsement: endorsement)
        try withCreationLock(until: Deadline(milliseconds: 10_000)) { () throws(Failure) in
            let taken = taken(stateID, verb)
            guard try !hasFile(name) else { throw taken }
            let header = StateFile(
                keyID: keys.current.id,
                uuid: uuid,
                generation: 1,
                stateID: stateID
            )
            try make(header, payload, name) { (state) throws(Failure) in
                try begin(header, name, isMade: state.isMade) { (_, entry) throws(Failure) in
                    try requireNotBeingRenamed(entry, taken.what)
                    guard entry?.generation ?? 0 == 0 else { throw taken }
                }
            }
            // A container may have been started with the state already.
            try index.transact { (records) throws(Failure) in
                try records.update(name) {
                    $0.generation = max($0.generation, header.generation)
                    $0.endorsementKeys = EndorsementHead(of: endorsement).keys
                }
            }
        }
    }
}
