import ArgumentParser
import Platform
import RuntimeAdministration
import RuntimeKeys
import RuntimeState

/// `vtpmctl state backup`: a copy of all states while containers run.
struct StateBackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Copies all states and the index into a new directory, while containers run.",
        discussion: """
            Each state is checked as a start would check it. The master key is not in the backup: save it with \
            vtpmctl key export, and keep it elsewhere. States in quarantine are not in it either.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(
        help: "The directory to be made; only root may be able to change the one that it is in.",
        completion: .directory
    )
    var directory: String

    func run() throws {
        try report("backing up states") { () throws(Failure) in
            let what = "cannot back up the states into \(directory.excerpt)"
            let (parent, name) = try place(what)
            let result = try host.withRepository { (repository, hostPaths) throws(Failure) in
                let backup = StateBackup(of: repository) { () throws(Failure) in
                    var files: [StateBackup.KeyFile] = []
                    if let key = try AuthorityKeyFile(hostPaths).copy(repository.keys) {
                        files.append(.init("authority.key", key))
                    }
                    if let key = try AttestationKeyFile(hostPaths).copy(repository.keys) {
                        files.append(.init("attestation.key", key))
                    }
                    return files
                }
                return try backup.write(to: name, in: .open(parent, .directory), path: directory) {
                    Progress.step(of: $0)
                }
            }
            guard let result else { throw Failure(what, because: "this host has had no state yet") }
            for failure in result.refused { complain("vtpmctl: \(failure)") }
            try Output.write(line: "\(result.copied) states are in \(directory.onOneLine), without the master key")
            guard result.refused.isEmpty else {
                throw Failure(
                    what,
                    because: "\(result.refused.count) states cannot be used, see above; all others are there"
                )
            }
        }
    }

    /// Returns the directory to make the backup in, and the name that the backup gets.
    ///
    /// Throws a ``Failure`` if the path leads over a link, or if another user could change where it leads.
    private func place(_ what: String) throws(Failure) -> (parent: String, name: String) {
        guard let slash = directory.lastIndex(of: "/"), case let name = directory[directory.index(after: slash)...],
            !["", ".", ".."].contains(name)
        else { throw Failure(what, because: "it is no absolute path of a new directory") }
        let parent = String(directory[..<slash])
        guard !parent.isEmpty else { return ("/", String(name)) }
        do {
            try requireRootsDirectory(parent, what)
        } catch {
            // Nobody should take from others what they may do in a directory for all.
            throw error.withHint("choose a place that only root can change, such as /var/backups")
        }
        return (parent, String(name))
    }
}
