import ArgumentParser
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeLease

/// `vtpmctl grant`: the permission of a running container to use its TPM, given again.
struct GrantCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "grant",
        abstract: "Lets a running container use its TPM again, after a runtime has taken that away.",
        discussion: """
            crun 1.18 to 1.22 does so on `podman update`. `vtpmctl doctor` names the containers. The container keeps its \
            TPM meanwhile, with all that is in it.
            """
    )

    @Argument(help: "The container's ID, or eight or more of its first digits.", completion: .containers)
    var container: String

    /// How long the hook's program may take, in milliseconds.
    private static let timeout = 60_000
    /// The fewest digits that stand for an ID.
    private static let prefixLength = 8

    func run() throws {
        try report("granting the TPM") { () throws(Failure) in
            let paths = try HostPaths.current()
            for lease in try leases(paths) { try grant(lease, paths) }
        }
    }

    /// Returns the names of the leases of living containers with this ID, of which an engine has one each.
    private func leases(_ paths: HostPaths) throws(Failure) -> [String] {
        var found: [String: [String]] = [:]
        let directory: Descriptor
        do {
            directory = try .open(paths.leases, .directory)
        } catch let error where error.code == ENOENT {
            throw none
        }
        let problems = try Leases.each(in: directory) { (opened, lease) throws(Failure) in
            guard let lease, isMeant(lease.containerID), try lease.container.isAlive() else { return }
            found[lease.containerID, default: []].append(opened.name)
        }
        for problem in problems { complain("vtpmctl: \(problem)") }
        if let exact = found[container] { return exact }
        guard let first = found.first else { throw none }
        guard found.count == 1 else {
            throw Failure(what, because: "\(found.count) containers' IDs begin with that", hint: "give the whole ID")
        }
        return first.value
    }

    private var what: String { "cannot grant the TPM of \"\(container.excerpt)\"" }

    private var none: Failure {
        Failure(what, because: "no running container of this ID has one", hint: "vtpmctl list")
    }

    private func isMeant(_ id: String) -> Bool {
        id == container || container.count >= Self.prefixLength && id.hasPrefix(container)
    }

    private func grant(_ lease: String, _ paths: HostPaths) throws(Failure) {
        let printed = try ProgramOutput.read(
            paths.program("vtpm-hook"),
            ["grant", lease],
            limit: 65536,
            timeout: Self.timeout
        )
        let lines = String(decoding: printed, as: UTF8.self).split(separator: "\n")
        guard let answer = lines.first.flatMap({ GrantAnswer(parsing: String($0)) }), answer.lease == lease else {
            throw Failure(what, because: "the hook's answer makes no sense")
        }
        if case .failed(let why) = answer.verdict { throw Failure(relayed: why.utf8) }
        try Output.write(line: "The container may use its TPM again.")
    }
}
