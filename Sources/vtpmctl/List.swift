import ArgumentParser
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeLease

/// `vtpmctl list`: the containers that have a TPM.
struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists the containers that have a TPM.")

    @Flag(help: "Print a JSON array, one object for each container.")
    var json = false

    func run() throws {
        try report("asking supervisors") { () throws(Failure) in
            let entries = try load()
            try json ? Output.write(json: entries) : writeTable(entries)
        }
    }

    /// A lease, with the health that its supervisor reports; `lost` if it does not respond.
    private struct Entry: Encodable {
        let lease: Lease
        let isInitAlive: Bool
        let health: String
        let generation: UInt64?
        let reason: String?

        enum Keys: String, CodingKey {
            case containerID, bundle, stateID
            case initPID, initStartTime, initHasEnded
            case supervisorPID, supervisorStartTime, workerPID, workerStartTime
            case libtpms, tpmNumber, tpm, tpmrm, unit, cgroup, containerCgroup
            case health, generation, reason
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Keys.self)
            try container.encode(lease.containerID, forKey: .containerID)
            try container.encode(lease.bundle, forKey: .bundle)
            try container.encodeIfPresent(lease.stateID, forKey: .stateID)
            try container.encode(lease.initProcess.process, forKey: .initPID)
            try container.encode(lease.initProcess.startTime, forKey: .initStartTime)
            if let cgroup = lease.cgroup {
                try container.encode(!isInitAlive, forKey: .initHasEnded)
                try container.encode(cgroup.directory, forKey: .containerCgroup)
            }
            try container.encode(lease.supervisor.process, forKey: .supervisorPID)
            try container.encode(lease.supervisor.startTime, forKey: .supervisorStartTime)
            try container.encode(lease.worker.process, forKey: .workerPID)
            try container.encode(lease.worker.startTime, forKey: .workerStartTime)
            try container.encodeIfPresent(lease.library.map { "\($0)" }, forKey: .libtpms)
            try container.encode(lease.tpmNumber, forKey: .tpmNumber)
            try container.encode(lease.tpm, forKey: .tpm)
            try container.encode(lease.tpmrm, forKey: .tpmrm)
            switch lease.place {
            case .inherited: break
            case .cgroup(let path): try container.encode(path, forKey: .cgroup)
            case .unit(let name): try container.encode(name, forKey: .unit)
            }
            try container.encode(health, forKey: .health)
            try container.encodeIfPresent(generation, forKey: .generation)
            try container.encodeIfPresent(reason, forKey: .reason)
        }
    }

    private func load() throws(Failure) -> [Entry] {
        let runDirectory: Descriptor
        do {
            runDirectory = try .open("/run/container-vtpm", .directory)
        } catch let error where error.code == ENOENT {
            return []
        }
        return try load(from: runDirectory)
    }

    private func load(from runDirectory: borrowing Descriptor) throws(Failure) -> [Entry] {
        var entries: [Entry] = []
        let problems = try Leases.each(in: runDirectory) { (opened, lease) throws(Failure) in
            guard let lease else { return removeLeftover(opened, in: runDirectory) }
            let status = VTPMStatus.ask(in: opened.directory)
            entries.append(
                Entry(
                    lease: lease,
                    isInitAlive: try lease.initProcess.isAlive(),
                    health: status.map { "\($0.health)" } ?? "lost",
                    generation: status?.generation,
                    reason: status.flatMap { $0.reason.isEmpty ? nil : $0.reason }
                )
            )
        }
        for problem in problems { complain("vtpmctl: \(problem)") }
        return entries.sorted { $0.lease.containerID < $1.lease.containerID }
    }

    /// Removes the lease of a creation whose hook and supervisor were both killed.
    ///
    /// If the creation was making a state, the lease stays for the next creation or poststop. Removing the state needs
    /// the keys.
    private func removeLeftover(_ lease: borrowing OpenLease, in runDirectory: borrowing Descriptor) {
        do throws(Failure) {
            guard try lease.lock(), !lease.namesMadeState() else { return }
            try lease.remove(from: runDirectory)
        } catch {
            complain("vtpmctl: \(error)")
        }
    }

    private func writeTable(_ entries: [Entry]) throws(Failure) {
        try Output.write(
            table: [["CONTAINER", "STATE", "TPM", "INIT", "SUPERVISOR", "LIBTPMS", "HEALTH"]]
                + entries.map { entry in
                    let lease = entry.lease
                    return [
                        lease.containerID, lease.stateID ?? "(ephemeral)", "tpm\(lease.tpmNumber)",
                        entry.isInitAlive ? "\(lease.initProcess.process)" : "ended",
                        "\(lease.supervisor.process)",
                        lease.library.map { "\($0)" } ?? "-", entry.health,
                    ]
                }
        )
    }
}
