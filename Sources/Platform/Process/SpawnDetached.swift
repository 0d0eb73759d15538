import CLinux
import Glibc

extension ProgramLaunch {
    /// Starts the program as nobody's child: init, or the subreaper above this process, reaps it. fork(2)
    ///
    /// A runtime waits for all of its children, and so for a child of the process that it was made of. Only a process
    /// with one thread may call this. Standard output is always `/dev/null`.
    ///
    /// - Throws: ``Failure`` if the program cannot be executed.
    public func startDetached() throws(Failure) {
        let what = "cannot start \(path)"
        var preparation = try ForkPreparation(self, what)
        try withoutAdoption { () throws(Failure) in try forkTwice(preparation.sources.numbers, what) }
        // The grandchild's copies go with the start of the program.
        preparation.sources.close()
        try preparation.awaitExecution()
    }

    /// Runs `body` while this process adopts no orphans.
    ///
    /// An engine's process that is a subreaper, and becomes this one, still is. execve(2) keeps that, and the grandchild
    /// would be this process's own child again. PR_SET_CHILD_SUBREAPER(2const)
    private func withoutAdoption(_ body: () throws(Failure) -> Void) throws(Failure) {
        var isAdopting: CInt = 0
        let code = withUnsafeMutablePointer(to: &isAdopting) {
            clinux_prctl(PR_GET_CHILD_SUBREAPER, UInt(bitPattern: $0))
        }
        guard code == 0, isAdopting != 0 else { return try body() }
        _ = clinux_prctl(PR_SET_CHILD_SUBREAPER, 0)
        defer { _ = clinux_prctl(PR_SET_CHILD_SUBREAPER, 1) }
        try body()
    }

    private func forkTwice(_ numbers: [CInt], _ what: String) throws(Failure) {
        let child = try ProgramInChild.with(self) { (next) throws(Failure) in
            let child = try systemCall("fork", what) { clinux_fork() }
            if child == 0 {
                if clinux_fork() == 0 { next.execute(with: numbers) }
                _exit(0)
            }
            return child
        }
        do {
            try systemCall("waitpid", what) { waitpid(child, nil, 0) }
        } catch let error where error.code == ECHILD {
            // With SIGCHLD ignored, which is left as it is, the kernel has reaped it.
        }
    }
}
