import Glibc
import Platform
import Testing

/// A cgroup of version 2 for one test, removed with its processes and all below it when the test is over.
final class TestCgroup {
    let path: String
    private let mountPoint: String
    private let name: String

    /// The mount of the whole hierarchy; nil where there is none, or where this process may not change it.
    static let mountPoint: String? = (try? Procfs().mountInfo())?
        .first { $0.type == "cgroup2" && $0.root == Array("/".utf8) && access($0.mountPoint ?? "", W_OK) == 0 }?
        .mountPoint
    static let isMissing = Comment("no cgroup2 file system is mounted, or this is not root")

    init() throws {
        mountPoint = try #require(Self.mountPoint)
        name = "container-vtpm-test.\(getpid()).\(UInt64.random(in: 0 ... .max))"
        path = "\(mountPoint)/\(name)"
        try #require(mkdir(path, 0o755) == 0)
    }

    deinit {
        kill()
        while (try? CgroupEvents.isPopulated(openEvents())) == true { usleep(1000) }
        _ = try? ProgramLaunch("/usr/bin/find", ["find", path, "-depth", "-type", "d", "-delete"]).start().wait()
    }

    /// What is recorded of it, or of one below it.
    func identity(of below: String = "") throws -> CgroupIdentity {
        let path = below.isEmpty ? name : "\(name)/\(below)"
        return try CgroupIdentity(of: path, in: .open(mountPoint, .directory), mountPoint: mountPoint)
    }

    func openEvents() throws -> Descriptor { try .open("\(path)/\(CgroupEvents.name)", .read) }

    /// A script whose shell is in this cgroup, or in one below it; `exec` in it keeps the process.
    func start(_ script: String, below: String = "") throws -> RunningProgram {
        let directory = below.isEmpty ? path : "\(path)/\(below)"
        mkdir(directory, 0o755)
        let program = try RunningProgram(
            ProgramLaunch("/bin/sh", ["sh", "-c", "echo 0 >'\(directory)/cgroup.procs'; \(script)"])
        )
        let deadline = Deadline(milliseconds: 60_000)
        while try !processes(in: directory).contains(program.process) { try #require(!deadline.hasPassed) }
        return program
    }

    func processes(in directory: String? = nil) throws -> [pid_t] {
        let name = "\(directory ?? path)/cgroup.procs"
        let text = try Descriptor.open(name, .read).readAll(limit: 1 << 20, name)
        return text.split(separator: UInt8(ascii: "\n")).compactMap { pid_t(String(decoding: $0, as: UTF8.self)) }
    }

    /// Waits until this many processes are in it.
    func awaitProcesses(_ count: Int) throws {
        let deadline = Deadline(milliseconds: 60_000)
        while try processes().count != count { try #require(!deadline.hasPassed) }
    }

    /// Kills all processes in it and below it. Linux 5.14
    func kill() {
        try? Descriptor.open("\(path)/cgroup.kill", OpenOptions(O_WRONLY)).writeAll([UInt8(ascii: "1")], path)
    }

    /// Removes it, and makes another of the same path.
    func replace() throws {
        let deadline = Deadline(milliseconds: 60_000)
        while rmdir(path) != 0 { try #require(!deadline.hasPassed) }
        try #require(mkdir(path, 0o755) == 0)
    }
}
