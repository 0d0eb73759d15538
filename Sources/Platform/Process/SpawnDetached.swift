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
        try forkTwice(preparation.sources.numbers, what)
        // The grandchild's copies go with the start of the program.
        preparation.sources.close()
        try preparation.awaitExecution()
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
