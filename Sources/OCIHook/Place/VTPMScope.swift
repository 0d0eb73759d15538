import Glibc
import Platform
import RuntimeControl
import Systemd

/// The unit in which the processes of a vTPM live on a host with systemd: a scope in `vtpm.slice`. systemd.scope(5)
struct VTPMScope {
    /// The name, which has the container's ID for a person and the supervisor's process ID to be unique.
    let name: String
    private let properties: [UnitProperty]
    private let processes: [pid_t]

    private static let slice = "vtpm.slice"
    /// The time that a vTPM has to end once its unit is stopped, in microseconds.
    ///
    /// When systemd stops it, the container's own unit has been stopped already, and the TPM's shutdown takes
    /// milliseconds. If it takes longer, or nobody has stopped the container, the processes stay (`SendSIGKILL`), and
    /// only the unit is gone: they end with the container, or when the host's shutdown kills everything.
    private static let stopTimeout: UInt64 = 30_000_000

    /// Describes the scope of two processes.
    ///
    /// - Parameters:
    ///   - containerID: The container's ID.
    ///   - supervisor: The supervisor, a child that the hook has not reaped.
    ///   - worker: The worker.
    ///   - units: The units that the container lives in. systemd stops them before the scope.
    ///   - paths: The directories that the vTPM uses. systemd unmounts them after it.
    init(
        of containerID: String,
        supervisor: pid_t,
        worker: borrowing ProcessHandle,
        after units: [String],
        using paths: [String]
    ) {
        name = "vtpm-\(UnitName.part(containerID))-\(supervisor).scope"
        processes = [supervisor, worker.process]
        properties = [
            UnitProperty("PIDs", .processes(processes)),
            UnitProperty("Slice", .text(Self.slice)),
            UnitProperty("Description", .text("vTPM of container \(LogFields.value(containerID))")),
            // Units are stopped in the opposite order of their start.
            UnitProperty("Before", .texts(units)),
            UnitProperty("RequiresMountsFor", .texts(paths)),
            UnitProperty("MemoryAccounting", .flag(true)),
            UnitProperty("MemoryMax", .number(UInt64(VTPMLimits.memory))),
            UnitProperty("TasksAccounting", .flag(true)),
            UnitProperty("TasksMax", .number(UInt64(VTPMLimits.tasks))),
            // A worker that is killed for its memory is no reason to stop the supervisor.
            UnitProperty("OOMPolicy", .text("continue"), since: 253),
            UnitProperty("RefuseManualStop", .flag(true)),
            UnitProperty("TimeoutStopUSec", .number(Self.stopTimeout)),
            UnitProperty("SendSIGKILL", .flag(false)),
            UnitProperty("CollectMode", .text("inactive-or-failed")),
        ]
    }

    /// Has systemd move the processes into the scope, while the caller goes on.
    func begin(with systemd: SystemdClient) throws(Failure) {
        try systemd.beginScope(name, properties)
    }

    /// Waits until the scope is active, and checks that the processes are in it.
    func await(
        with systemd: SystemdClient,
        _ worker: borrowing ProcessHandle,
        _ procfs: borrowing Procfs
    ) throws(Failure) {
        let group = try systemd.awaitScope(name).controlGroup
        for process in processes {
            guard !group.isEmpty, try procfs.cgroups(of: process).contains(where: { $0.path == Array(group.utf8) })
            else {
                throw Failure(
                    "cannot start systemd's unit \(name)",
                    because: "process \(process) is not in it",
                    hint: "systemctl status \(name.shellWord), and journalctl -u \(name.shellWord), may say more"
                )
            }
        }
        // A number that another process had by the time it was moved is noticed here.
        guard try worker.isAlive() else { throw Failure("cannot start the vTPM", because: "the worker ended") }
    }
}
