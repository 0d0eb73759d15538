import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import Systemd
import VTPMProxy

/// What `vtpmctl` has the hook's program do for containers that are running.
///
/// It takes what only the hook may do under AppArmor: to mount, to load BPF programs, to enter control groups.
enum GrantVerb: String, CaseIterable {
    /// Tells whether containers may still use their TPMs, and changes nothing.
    case check = "check-grant"
    /// Lets containers use their TPMs again. A runtime can take that away when it changes a container's limits.
    case grant

    /// The time for all containers in milliseconds; those that are left then are not asked.
    private static let timeout = 15_000

    /// Calls `write` with an answer for each lease.
    func run(
        _ leases: some Sequence<String>,
        on hostPaths: HostPaths,
        write: (GrantAnswer) throws(Failure) -> Void
    ) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.timeout)
        for name in leases {
            var verdict = GrantAnswer.Verdict.failed("there was no time left for it")
            if !deadline.hasPassed {
                do throws(Failure) {
                    verdict = try run(name, on: hostPaths)
                } catch {
                    verdict = .failed("\(error)")
                }
            }
            try write(GrantAnswer(lease: name, verdict))
        }
    }

    private func run(_ name: String, on hostPaths: HostPaths) throws(Failure) -> GrantAnswer.Verdict {
        let container = try RunningContainer(name, on: hostPaths)
        switch self {
        case .check: return try container.isAllowed(hostPaths) ? .allowed : .denied
        case .grant:
            try container.allow(hostPaths)
            let id = container.lease.containerID
            let subject = LogSubject(container: id, state: container.lease.stateID, tpm: container.lease.tpmNumber)
            Log.notice("container \"\(id)\" may use its TPM again", about: subject)
            return .allowed
        }
    }
}

/// A container that has a lease and whose init lives.
private struct RunningContainer: ~Copyable {
    let lease: Lease
    private let process: ProcessHandle
    private let tpm: RegisteredTPM

    /// Finds the container by the name of its lease.
    ///
    /// Its init's ID may be another process's by now, so its start time is compared.
    init(_ name: String, on hostPaths: HostPaths) throws(Failure) {
        let what = "cannot use the lease \(name.excerpt)"
        guard name.count == 32, name.utf8.allSatisfy({ "0123456789abcdef".utf8.contains($0) }) else {
            throw Failure(what, because: "that is no name of a lease")
        }
        guard let opened = try OpenLease.open(name, in: .open(hostPaths.leases, .directory)),
            let lease = try opened.read()
        else { throw Failure(what, because: "there is none, or its container is being created") }
        guard let process = try lease.initProcess.reference() else {
            throw Failure(what, because: "the container's init ended", hint: "start the container again")
        }
        self.tpm = try lease.registered()
        self.lease = lease
        self.process = process
    }

    /// Returns whether the container may use its TPM.
    borrowing func isAllowed(_ hostPaths: HostPaths) throws(Failure) -> Bool {
        // To ask, nobody needs to know which control groups are the container's own.
        let access = try access(cgroupsPath: nil, systemd: nil, hostPaths)
        defer { access.end() }
        let nodes = try nodes(hostPaths)
        return try access.allows([tpm.tpm, tpm.tpmrm], nodes: [nodes.tpm.number, nodes.tpmrm.number])
    }

    /// Lets the container use its TPM, as its creation did.
    borrowing func allow(_ hostPaths: HostPaths) throws(Failure) {
        let config: BundleConfig
        do {
            config = try BundleConfig.load(bundle: lease.bundle).config
        } catch let error where error.code == ENOENT {
            throw error.withHint("the bundle says which control groups are the container's; start the container again")
        }
        let systemd = try SystemdClient.ofHost(hostPaths)
        defer { systemd?.end() }
        let access = try access(cgroupsPath: config.linux?.cgroupsPath, systemd: systemd, hostPaths)
        defer { access.end() }
        let nodes = try nodes(hostPaths)
        try access.allow([tpm.tpm, tpm.tpmrm], nodes: [nodes.tpm.number, nodes.tpmrm.number])
    }

    private borrowing func access(
        cgroupsPath: String?,
        systemd: SystemdClient?,
        _ hostPaths: HostPaths
    ) throws(Failure) -> DeviceAccess {
        try DeviceAccess(
            of: process,
            cgroupsPath: cgroupsPath,
            systemd: systemd,
            probe: hostPaths.program("vtpm-hook"),
            stage: .running
        )
    }

    private borrowing func nodes(_ hostPaths: HostPaths) throws(Failure) -> DeviceNodes {
        try DeviceNodes.unseen(of: tpm, mountedOn: hostPaths.leases)
    }
}

extension SystemdClient {
    /// Connects to the host's systemd in the background; returns nil if the host has none.
    static func ofHost(_ hostPaths: HostPaths) throws(Failure) -> SystemdClient? {
        isRunning() ? try SystemdClient(program: hostPaths.program("vtpm-systemd")) : nil
    }
}
