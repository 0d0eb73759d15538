import Platform
import RuntimeControl
import RuntimeEndorsement
import RuntimeLease
import RuntimeState

extension StateRepository {
    /// Returns the host's record of a TPM's identity; nil if its state has none, or if there is no such state.
    ///
    /// The state may be in use.
    public func endorsement(of stateID: String) throws(Failure) -> EndorsementRecord? {
        let name = try StateDirectoryName.encoded(stateID)
        guard let directory = try openState(name) else { return nil }
        let (_, payload) = try loadInUse(name, stateID, in: directory)
        return try EndorsementRecord(stored: payload.endorsement, "the state \"\(stateID)\"")
    }
}

extension EndorsementRecord {
    /// Decodes a record that was stored; returns nil if nothing was.
    fileprivate init?(stored bytes: [UInt8], _ place: String) throws(Failure) {
        guard !bytes.isEmpty else { return nil }
        guard let record = EndorsementRecord(decoding: bytes) else {
            throw Failure("cannot read the endorsement of \(place)", because: "it is damaged")
        }
        self = record
    }

    /// Reads the record of an ephemeral TPM from its container's lease; returns nil if there is none.
    public init?(of lease: borrowing OpenLease) throws(Failure) {
        guard let bytes = try lease.endorsement() else { return nil }
        try self.init(stored: bytes, "the lease \(lease.name)")
    }
}
