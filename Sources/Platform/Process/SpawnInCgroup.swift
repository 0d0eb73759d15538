import CLinux
import Glibc

extension ProgramLaunch {
    /// Starts the program in a cgroup of version 2. clone3(2), CLONE_INTO_CGROUP
    ///
    /// posix_spawn(3) can do that from glibc 2.38 on. To move a process that runs would take the kernel an RCU grace
    /// period of about 10 ms. Standard output is always `/dev/null`.
    ///
    /// - Throws: ``Failure``, with ENODEV if the cgroup has been removed.
    func startInCgroup(_ cgroup: CInt) throws(Failure) -> ChildProcess {
        let what = "cannot start \(path)"
        var preparation = try ForkPreparation(self, what)
        let child = try fork(into: cgroup, preparation.sources, what)
        // The child's copies go with the start of the program.
        preparation.sources.close()
        do {
            try preparation.awaitExecution()
        } catch {
            _ = try? child.end()
            throw error
        }
        return child
    }

    private func fork(
        into cgroup: CInt,
        _ sources: borrowing ChildDescriptors,
        _ what: String
    ) throws(Failure) -> ChildProcess {
        let numbers = sources.numbers
        var pidfd: CInt = -1
        let process = try ProgramInChild.with(self) { (next) throws(Failure) in
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
