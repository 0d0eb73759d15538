import CLinux
import Glibc

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
