import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import Systemd
import VTPMProxy

// The hook of a container whose vTPM was prepared before its runtime was executed.
extension Creation {
    /// Gives the container the vTPM that was prepared for it; returns false if none was.
    ///
    /// - Throws: ``Failure`` unless lease and `config.json` name the same vTPM, or neither names one.
    func hasAdopted(
        _ container: borrowing ContainerInit,
        _ leaseName: String,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> Bool {
        let opened = try OpenLease.open(leaseName, in: runDirectory)
        let (record, lease) = (try opened?.prepared(), try opened?.read())
        switch (setting.prepared, record, lease) {
        case (nil, nil, _): return false
        case (nil, .some, let lease):
            guard try lease?.container.isAlive() ?? false else {
                // What a creation has left whose processes were killed; the next step but one removes it.
                return false
            }
            throw Failure(
                Self.what,
                because: "the vTPM that was prepared for it is not named by the config.json that the runtime has read",
                hint: BundleOrigin.hint
            )
        case (let name?, let record?, let lease?):
            try adopt(name, record, lease, leaseName, container, in: runDirectory)
            return true
        case (.some, _, let lease?) where lease.initProcess == container.identity:
            // An earlier call of this hook has adopted it.
            return false
        default:
            try BundleDirectory(state.bundle).restoreUnlessUsed(in: runDirectory)
            throw Failure(
                Self.what,
                because: "config.json names a vTPM that is gone",
                hint: "create the container again: its bundle has got its own config.json back"
            )
        }
    }

    /// Refuses a container that gets no TPM, although one was prepared for it: annotations or configuration have changed.
    ///
    /// If the processes of that creation were killed, the bundle gets its own `config.json` back, as it would be refused
    /// for ever.
    func refuseUnselected() throws(Failure) {
        guard setting.prepared != nil else { return }
        try BundleDirectory(state.bundle).restoreUnlessUsed(in: openOwnDirectory(hostPaths.leases))
        throw Failure(Self.what, because: "one was prepared for it, and now it asks for none", hint: BundleOrigin.hint)
    }

    private static var what: String { "cannot give the container its TPM" }

    /// Takes the vTPM over; if the process that has prepared it was killed, puts the bundle's own `config.json` back.
    private func takeOver(
        _ name: PreparedName,
        _ lease: Lease,
        _ leaseName: String,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> SupervisorLink {
        do {
            return try SupervisorLink(adopting: name.token, lease, leaseName, in: runDirectory)
        } catch {
            // The runtime has read the file: it has called this hook.
            try BundleDirectory(state.bundle).restoreUnlessUsed(in: runDirectory, but: leaseName)
            throw error
        }
    }

    private func adopt(
        _ name: PreparedName,
        _ record: PreparedVTPM,
        _ lease: Lease,
        _ leaseName: String,
        _ container: borrowing ContainerInit,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) {
        Log.subject.tpm = lease.tpmNumber
        let file = try BundleConfig.load(bundle: state.bundle)
        guard name.token == record.token, try record.describes(config: file.content) else {
            throw Failure(
                Self.what,
                because: "\(file.path) is not what was written for this creation",
                hint: BundleOrigin.hint
            )
        }
        // Its launch was measured when it was prepared.
        let request = try readRequest(file, of: container, root: nil)
        Log.subject.state = request.stateIdentity.stateID
        guard request.stateIdentity.stateID == lease.stateID else {
            throw Failure(Self.what, because: "the vTPM that was prepared has another state than its own")
        }
        let systemd = try SystemdClient.ofHost(hostPaths)
        defer { systemd?.end() }
        let examined = try examine(request, of: container, systemd)
        defer { examined.end() }

        let supervisor = try takeOver(name, lease, leaseName, in: runDirectory)
        defer { supervisor.abandonUnlessCommitted(in: runDirectory, Leftovers(on: hostPaths, setting)) }
        var lease = lease
        lease.initProcess = container.identity
        lease.cgroup = examined.cgroup?.identity
        try supervisor.adopt(lease.container, container.watch(examined.cgroup))
        // From here on the number is the container's, and not the runtime's.
        try supervisor.write(lease)
        try complete(lease, named: leaseName, for: container, examined, supervisor, in: runDirectory)
    }
}
