import CLinux
import Glibc

extension ProgramLaunch {
    /// The timeout for the child to execute the program, in milliseconds.
    private static let timeout = 10_000

    /// Starts the program in a cgroup of version 2. clone3(2), CLONE_INTO_CGROUP
    ///
    /// posix_spawn(3) can do that from glibc 2.38 on. To move a process that runs would take the kernel an RCU grace
    /// period of about 10 ms. Standard output is always `/dev/null`.
    ///
    /// - Throws: ``Failure``, with ENODEV if the cgroup has been removed.
    func startInCgroup(_ cgroup: CInt) throws(Failure) -> ChildProcess {
        let what = "cannot start \(path)"
        let null = try Descriptor.open("/dev/null", OpenOptions(O_RDWR))
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", what) { pipe2(&ends, O_CLOEXEC) }
        let errors = Descriptor(owning: ends[0])
        var sources = ChildDescriptors()
        do {
            let words = Descriptor(owning: ends[1])
            let standard = [null.number, null.number, null.number]
            try sources.add(copiesOf: standard + passed + [words.number], what)
        }
        let child = try fork(into: cgroup, sources, what)
        // The child's copies go with the start of the program.
        sources.close()

        guard try wait(for: errors.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
            _ = try? child.end()
            throw Failure(what, because: "its process does not execute it")
        }
        var code: CInt = 0
        let number = errors.number
        let count = try systemCall("read", what) { read(number, &code, MemoryLayout<CInt>.size) }
        guard count == 0 else {
            _ = try? child.wait()
            throw Failure(what, call: "execve", code: code)
        }
        return child
    }

    private func fork(
        into cgroup: CInt,
        _ sources: borrowing ChildDescriptors,
        _ what: String
    ) throws(Failure) -> ChildProcess {
        let numbers = sources.numbers
        let texts = (CStrings([path]), CStrings(arguments), CStrings(environment))
        var pidfd: CInt = -1
        let process = try withExtendedLifetime(texts) { () throws(Failure) in
            let next = ProgramInChild(
                path: texts.0.pointers[0],
                arguments: texts.1.pointers,
                environment: texts.2.pointers,
                ownSession: ownSession
            )
            let process: pid_t
            do throws(Failure) {
                process = try systemCall("clone3", what) { clinux_fork_into_cgroup(cgroup, &pidfd) }
            } catch {
                // The kernel has two errors for a removed one (kernel/cgroup/cgroup.c, `css_tryget_online_from_dir`).
                throw Failure(what, call: "clone3", code: error.code == ENOENT ? ENODEV : error.code ?? EINVAL)
            }
            if process == 0 { next.execute(with: numbers) }
            return process
        }
        return ChildProcess(ProcessHandle(owning: Descriptor(owning: pidfd), process: process), path)
    }
}
