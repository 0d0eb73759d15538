import CLinux
import Glibc

/// What a process sets up before it forks one that executes a program.
struct ForkPreparation: ~Copyable {
    /// The reading end of a pipe that execve(2) closes, or that has its `errno`.
    let errors: Descriptor
    /// The descriptors of the child, of which it has copies; the parent's go with ``ChildDescriptors/close()``.
    var sources: ChildDescriptors
    private let what: String

    /// The timeout for the child to execute the program, in milliseconds.
    private static let timeout = 10_000

    /// Prepares the launch of a program, whose standard descriptors are `/dev/null`.
    init(_ launch: ProgramLaunch, _ what: String) throws(Failure) {
        let null = try Descriptor.open("/dev/null", OpenOptions(O_RDWR))
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", what) { pipe2(&ends, O_CLOEXEC) }
        let errors = Descriptor(owning: ends[0])
        let words = Descriptor(owning: ends[1])
        var sources = ChildDescriptors()
        let standard = [null.number, null.number, null.number]
        try sources.add(copiesOf: standard + launch.passed + [words.number], what)
        self.errors = errors
        self.sources = sources
        self.what = what
    }

    /// Waits until the child executes the program, or until none of the processes that could is left.
    borrowing func awaitExecution() throws(Failure) {
        guard try wait(for: errors.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
            throw Failure(what, because: "its process does not execute it")
        }
        var code: CInt = 0
        let number = errors.number
        let count = try systemCall("read", what) { read(number, &code, MemoryLayout<CInt>.size) }
        guard count == 0 else { throw Failure(what, call: "execve", code: code) }
    }
}

/// The descriptors that become a child's 0, 1, 2 and so on; the last one takes the error of execve(2).
struct ChildDescriptors: ~Copyable {
    private(set) var numbers: [CInt] = []

    init() {}

    /// Adds copies, at numbers that none of the child's own has, so that no dup2(2) overwrites one.
    mutating func add(copiesOf originals: [CInt], _ what: String) throws(Failure) {
        let firstFree = CInt(originals.count)
        for number in originals {
            numbers.append(try systemCall("fcntl F_DUPFD_CLOEXEC", what) { fcntl(number, F_DUPFD_CLOEXEC, firstFree) })
        }
    }

    mutating func close() {
        for number in numbers { Glibc.close(number) }
        numbers = []
    }

    deinit {
        for number in numbers { Glibc.close(number) }
    }
}

/// A program that a child executes after clone3(2) or fork(2).
///
/// The child has a copy of this process's memory, in which it allocates nothing.
struct ProgramInChild {
    let path: UnsafeMutablePointer<CChar>?
    let arguments: [UnsafeMutablePointer<CChar>?]
    let environment: [UnsafeMutablePointer<CChar>?]
    let ownSession: Bool

    /// Calls `body` with a launch's program, whose texts are there until it returns.
    static func with<Result>(
        _ launch: ProgramLaunch,
        _ body: (ProgramInChild) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let texts = (CStrings([launch.path]), CStrings(launch.arguments), CStrings(launch.environment))
        return try withExtendedLifetime(texts) { () throws(Failure) in
            try body(
                ProgramInChild(
                    path: texts.0.pointers[0],
                    arguments: texts.1.pointers,
                    environment: texts.2.pointers,
                    ownSession: launch.ownSession
                )
            )
        }
    }

    /// Replaces the process by the program; if that fails, writes the `errno` to the last descriptor and ends.
    func execute(with sources: [CInt]) -> Never {
        var number: CInt = 0
        while number < sources.count {
            dup2(sources[Int(number)], number)
            number += 1
        }
        let words = number - 1
        _ = fcntl(words, F_SETFD, FD_CLOEXEC)
        close_range(UInt32(number), UInt32.max, 0)
        var signalNumber: CInt = 1
        while signalNumber <= 64 {
            signal(signalNumber, SIG_DFL)
            signalNumber += 1
        }
        var none = sigset_t()
        sigemptyset(&none)
        sigprocmask(SIG_SETMASK, &none, nil)
        if ownSession { setsid() }
        if let path { execve(path, arguments, environment) }
        var code = errno
        write(words, &code, MemoryLayout<CInt>.size)
        _exit(127)
    }
}
