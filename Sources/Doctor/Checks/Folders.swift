import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeLease

/// The directories that we write to.
enum FolderChecks {
    /// The least room for a state and the index, in bytes, and the room below which it is said, in bytes.
    private static let (needed, comfortable): (UInt64, UInt64) = (4 << 20, 64 << 20)
    /// The least room for a lease, in bytes.
    private static let neededForLease: UInt64 = 64 << 10
    /// The files that a new state makes, at most.
    private static let neededFiles: UInt64 = 16

    /// The directories of the states, the index and the keys.
    static func states(_ host: Host) throws(Failure) -> Finding {
        let place = host.withoutRoot(parent(of: host.paths.states))
        let directories = [host.paths.states, host.paths.index, host.paths.keys, host.paths.quarantine]
        if let finding = try owners(of: directories, host) { return finding }
        let fileSystem = try host.fileSystem(existing(host.paths.states))
        if let finding = room(fileSystem, place, needed) { return finding }
        if fileSystem.isInMemory {
            return .problem(
                "\(place) is in memory: a reboot makes each container a new TPM of another identity",
                remedy: "mount a disk there"
            )
        }
        guard fileSystem.free >= comfortable else {
            return .note("\(place) has \(fileSystem.free >> 20) MiB left", remedy: "vtpmctl state prune --orphans")
        }
        return .ok("\(place), \(fileSystem.free >> 20) MiB left")
    }

    /// The directory of the leases.
    static func leases(_ host: Host) throws(Failure) -> Finding {
        let place = host.withoutRoot(host.paths.leases)
        if let finding = try owners(of: [host.paths.leases], host) { return finding }
        let fileSystem = try host.fileSystem(existing(host.paths.leases))
        if let finding = room(fileSystem, place, neededForLease) { return finding }
        guard fileSystem.isInMemory else {
            return .problem(
                "\(place) is on a disk, and leases outlive the boot that they are of",
                remedy: "mount a tmpfs on /run"
            )
        }
        guard host.user == host.owner, access(host.paths.leases, F_OK) == 0 else { return .ok("\(place), in memory") }
        let problems = try Leases.each(in: .open(host.paths.leases, .directory)) { (_, _) throws(Failure) in }
        guard let problem = problems.first else { return .ok("\(place), in memory") }
        return .problem("\(problem.what): \(problem.why)", remedy: problem.hint ?? "remove it from \(place)")
    }

    /// Returns a finding if one of the directories that are there is not root's alone.
    private static func owners(of paths: [String], _ host: Host) throws(Failure) -> Finding? {
        for path in paths where access(path, F_OK) == 0 {
            guard host.user == host.owner else { return .unknown("only root can look into \(path)") }
            let directory = try Descriptor.open(path, .directory)
            do {
                try directory.requireOwn(files: [], path)
            } catch {
                return .refusal(error, remedy: "chown root: \(path.shellWord) && chmod 0700 \(path.shellWord)")
            }
            if try directory.status(path).st_mode & 0o022 != 0 {
                return .refusal(
                    "others can write to \(path)",
                    remedy: "chown root: \(path.shellWord) && chmod 0700 \(path.shellWord)"
                )
            }
        }
        return nil
    }

    private static func room(_ fileSystem: FileSystem, _ place: String, _ needed: UInt64) -> Finding? {
        if fileSystem.isReadOnly {
            return .refusal("\(place) is on a file system that is read-only", remedy: "mount a writable one there")
        }
        guard fileSystem.free >= needed else {
            return .refusal("\(place) has \(fileSystem.free >> 10) KiB left", remedy: "make room there")
        }
        if let files = fileSystem.freeFiles, files < neededFiles {
            return .refusal("\(place) can take \(files) more files", remedy: "remove files there")
        }
        return nil
    }

    /// Returns the path, or the next one above it that exists.
    private static func existing(_ path: String) -> String {
        var path = path
        while path != "/", access(path, F_OK) != 0 { path = parent(of: path) }
        return path
    }

    private static func parent(of path: String) -> String {
        let parent = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        return parent.isEmpty ? "/" : parent
    }
}
