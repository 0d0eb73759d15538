import CLinux
import Glibc

extension ProgramLaunch {
    /// The timeout for the grandchild to execute the program, in milliseconds.
    private static let timeout = 10_000

    /// Starts the program as nobody's child: init, or the subreaper above this process, reaps it. fork(2)
    ///
    /// A runtime waits for all of its children, and so for a child of the process that it was made of. Only a process
    /// with one thread may call this. Standard output is always `/dev/null`.
    ///
    /// - Throws: ``Failure`` if the program cannot be executed.
    public func startDetached() throws(Failure) {
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
        try forkTwice(sources.numbers, what)
        // The grandchild's copies go with the start of the program.
        sources.close()
        try awaitExecution(errors, what)
    }

    private func forkTwice(_ numbers: [CInt], _ what: String) throws(Failure) {
        let texts = (CStrings([path]), CStrings(arguments), CStrings(environment))
        let child = try withExtendedLifetime(texts) { () throws(Failure) in
            let next = ProgramInChild(
                path: texts.0.pointers[0],
                arguments: texts.1.pointers,
                environment: texts.2.pointers,
                ownSession: ownSession
            )
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

    /// Waits until the pipe is closed, by execve(2) or by the end of a process that could not be made.
    func awaitExecution(_ errors: borrowing Descriptor, _ what: String) throws(Failure) {
        guard try wait(for: errors.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
            throw Failure(what, because: "its process does not execute it")
        }
        var code: CInt = 0
        let number = errors.number
        let count = try systemCall("read", what) { read(number, &code, MemoryLayout<CInt>.size) }
        guard count == 0 else { throw Failure(what, call: "execve", code: code) }
    }
}
