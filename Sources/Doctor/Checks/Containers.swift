import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeLease

/// The containers that have a TPM.
enum ContainerChecks {
    /// The largest number of containers that a finding names.
    private static let most = 3

    /// Whether each living container's TPM works.
    static func tpms(_ host: Host) throws(Failure) -> Finding {
        var (good, lost, failed): ([String], [String], [String]) = ([], [], [])
        try each(host) { (lease, directory, _) throws(Failure) in
            guard let status = VTPMStatus.ask(in: directory) else { return lost.append(lease.containerID) }
            if status.health == .failed { failed.append(lease.containerID) } else { good.append(lease.containerID) }
        }
        guard lost.isEmpty, failed.isEmpty else {
            let what = [("lost", lost), ("failed", failed)].filter { !$0.1.isEmpty }
                .map { "\($0.1.count) \($0.0): \(names($0.1))" }
            return .problem(what.joined(separator: "; "), remedy: "start these containers again; vtpmctl log CONTAINER")
        }
        return .ok(good.isEmpty ? "no container has one" : "\(good.count), all working")
    }

    /// Whether each living container may still use its TPM's devices.
    static func grants(_ host: Host) throws(Failure) -> Finding {
        var containers: [String: String] = [:]
        try each(host) { (lease, _, name) throws(Failure) in
            // What an init has left behind uses the devices that it had.
            guard try lease.initProcess.isAlive() else { return }
            containers[name] = lease.containerID
        }
        guard !containers.isEmpty else { return .ok("no container has one") }
        let hook = host.paths.program("vtpm-hook")
        let lines = try host.output(hook, ["check-grant"] + containers.keys.sorted()).split(separator: "\n")
        var (denied, unknown): ([String], [String]) = ([], [])
        for answer in lines.compactMap({ GrantAnswer(parsing: String($0)) }) {
            guard let container = containers.removeValue(forKey: answer.lease) else { continue }
            switch answer.verdict {
            case .allowed: break
            case .denied: denied.append(container)
            case .failed(let why): unknown.append("\(container.excerpt): \(why)")
            }
        }
        if let first = denied.first {
            return .problem(
                "\(denied.count) may not use its TPM any more: \(names(denied))",
                remedy: "vtpmctl grant \(first.shellWord)"
            )
        }
        unknown += containers.values.sorted().map { "\($0.excerpt): no answer" }
        if let first = unknown.first { return .unknown("\(unknown.count) could not be asked, such as \(first)") }
        return .ok("\(lines.count), all as they were given")
    }

    /// Calls `body` with each living container's lease, its directory and the name of that.
    private static func each(
        _ host: Host,
        _ body: (Lease, borrowing Descriptor, String) throws(Failure) -> Void
    ) throws(Failure) {
        let runDirectory: Descriptor
        do {
            runDirectory = try .open(host.paths.leases, .directory)
        } catch let error where error.code == ENOENT {
            return
        }
        // What cannot be read is what the check of the directory is about.
        _ = try Leases.each(in: runDirectory) { (opened, lease) throws(Failure) in
            guard let lease, try lease.container.isAlive() else { return }
            try body(lease, opened.directory, opened.name)
        }
    }

    private static func names(_ all: [String]) -> String {
        all.sorted().prefix(most).map { $0.excerpt }.joined(separator: ", ") + (all.count > most ? " and others" : "")
    }
}
