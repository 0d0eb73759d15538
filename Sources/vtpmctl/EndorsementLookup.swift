import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeLease
import RuntimeState

/// Finds the host's record of a TPM's identity.
struct EndorsementLookup {
    let host: HostOptions
    /// A container's ID, or a state's.
    let name: String

    /// Finds the record: by the container that has the TPM, or by the state.
    func record() throws(Failure) -> EndorsementRecord {
        let container = try ofContainer()
        if let record = container?.record { return record }
        guard container == nil || container?.stateID != nil else {
            throw nothing(
                "the TPM of container \"\(name)\" is ephemeral",
                hint: "certificates = \"all\" in [manufacture] has such TPMs endorsed"
            )
        }
        let stateID = container?.stateID ?? name
        let found = try host.withRepository { (repository, _) throws(Failure) in
            guard try repository.names().contains(StateDirectoryName.encoded(stateID)) else { throw noState(stateID) }
            return try repository.endorsement(of: stateID)
        }
        guard let record = found else { throw noState(stateID) }
        guard let record else {
            throw nothing(
                "the state \"\(stateID)\" has no record of it",
                hint: "it is made at the container's next start"
            )
        }
        return record
    }

    /// Finds the container's state, or the record in the container's lease if it has none; returns nil if there is no container.
    private func ofContainer() throws(Failure) -> (stateID: String?, record: EndorsementRecord?)? {
        let found = try host.leases(of: name) { (opened, lease) throws(Failure) in
            (stateID: lease.stateID, record: lease.stateID == nil ? try EndorsementRecord(of: opened) : nil)
        }
        guard found.count < 2 else {
            throw nothing(
                "\(found.count) containers have the ID \"\(name.excerpt)\"",
                hint: "give the state's ID, which vtpmctl list shows"
            )
        }
        return found.first
    }

    private func nothing(_ why: String, hint: String) -> Failure {
        Failure("cannot print the TPM's endorsement keys", because: why, hint: hint)
    }
}
