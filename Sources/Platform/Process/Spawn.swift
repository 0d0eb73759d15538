import CLinux
import Glibc

/// A program to be started, which inherits only what is named here. posix_spawn(3)
///
/// Standard input, output and error are `/dev/null` unless set. Every descriptor that is not passed is closed. No
/// signal is blocked or handled. The environment is exactly ``environment``.
public struct ProgramLaunch {
    /// The program's path.
    public var path: String
    /// The arguments, the program's name first.
    public var arguments: [String]
    /// The whole environment.
    public var environment: [String]
    /// The descriptors that it gets as 3, 4 and so on.
    public var passed: [CInt] = []
    /// The descriptor that it gets as its standard input, in place of `/dev/null`.
    public var standardInput: CInt?
    /// The descriptor that it gets as its standard output, in place of `/dev/null`.
    public var standardOutput: CInt?
    /// Whether it gets a session of its own. setsid(2)
    public var ownSession = false
    /// The directory of the cgroup of version 2 that it is started in, if that is not this process's own.
    ///
    /// Only a process with one thread may set it (``startInCgroup(_:)``).
    public var cgroup: CInt?

    /// Creates the launch of a program; the first argument is its name.
    public init(_ path: String, _ arguments: [String], environment: [String] = ProgramLaunch.plainEnvironment) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
    }

    /// The environment of our programs: a fixed search path, no backtraces, which could print secrets, and of malloc(3)
    /// neither huge pages nor caches of free memory, which keep 30 KiB of each program's.
    ///
    /// On some machines malloc(3) asks for huge pages by itself (AArch64, from glibc 2.43 on). A heap of some hundred
    /// kilobytes would then take megabytes of locked memory. If AppArmor starts the program (`Px`), the loader ignores
    /// the variable, and the system call filters refuse the huge pages. ld.so(8), GLIBC_TUNABLES
    public static let plainEnvironment = [
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "SWIFT_BACKTRACE=enable=no",
        "GLIBC_TUNABLES=glibc.malloc.hugetlb=0:glibc.malloc.tcache_count=0",
    ]

    /// Starts the program, as a child that the caller has to reap.
    public func start() throws(Failure) -> ChildProcess {
        if let cgroup { return try startInCgroup(cgroup) }
        let what = "cannot start \(path)"
        // dup2 onto 3, 4 … would overwrite a source that has one of these numbers itself: move all out of the way.
        var moved: [CInt] = []
        defer { for number in moved { close(number) } }
        let firstFree = CInt(3 + passed.count)
        for number in passed {
            moved.append(try systemCall("fcntl F_DUPFD_CLOEXEC", what) { fcntl(number, F_DUPFD_CLOEXEC, firstFree) })
        }

        var standard: [(number: CInt, target: CInt)] = []
        defer { for (number, _) in standard { close(number) } }
        for (number, target) in [(standardInput, STDIN_FILENO), (standardOutput, STDOUT_FILENO)] {
            guard let number else { continue }
            let copy = try systemCall("fcntl F_DUPFD_CLOEXEC", what) { fcntl(number, F_DUPFD_CLOEXEC, firstFree) }
            standard.append((copy, target))
        }

        var actions = posix_spawn_file_actions_t()
        try check(posix_spawn_file_actions_init(&actions), "posix_spawn_file_actions_init", what)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for number in 0..<CInt(3) {
            try check(
                posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0),
                "posix_spawn_file_actions_addopen",
                what
            )
        }
        for (number, target) in standard {
            try check(
                posix_spawn_file_actions_adddup2(&actions, number, target),
                "posix_spawn_file_actions_adddup2",
                what
            )
        }
        for (index, number) in moved.enumerated() {
            let target = CInt(3 + index)
            try check(
                posix_spawn_file_actions_adddup2(&actions, number, target),
                "posix_spawn_file_actions_adddup2",
                what
            )
        }
        try check(
            posix_spawn_file_actions_addclosefrom_np(&actions, firstFree),
            "posix_spawn_file_actions_addclosefrom_np",
            what
        )

        var attributes = posix_spawnattr_t()
        try check(posix_spawnattr_init(&attributes), "posix_spawnattr_init", what)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        let flags = Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF)
        posix_spawnattr_setflags(&attributes, ownSession ? flags | clinux_posix_spawn_setsid : flags)

        let argumentVector = CStrings(arguments)
        let environmentVector = CStrings(environment)
        var process = pid_t()
        let code = withExtendedLifetime((argumentVector, environmentVector)) {
            posix_spawn(&process, path, &actions, &attributes, argumentVector.pointers, environmentVector.pointers)
        }
        try check(code, "posix_spawn", what)
        do {
            return ChildProcess(try ProcessHandle(process), path)
        } catch {
            // Nobody has reaped it, so that its ID is still its own.
            Glibc.kill(process, SIGKILL)
            _ = try? systemCall("waitpid", what) { waitpid(process, nil, 0) }
            throw error
        }
    }

    /// The posix_spawn family returns the error number and leaves `errno` alone.
    private func check(_ code: CInt, _ call: String, _ what: String) throws(Failure) {
        guard code == 0 else { throw Failure(what, call: call, code: code) }
    }
}

/// C strings with a null pointer after the last, for execve(2).
package final class CStrings {
    package let pointers: [UnsafeMutablePointer<CChar>?]

    package init(_ texts: [String]) {
        pointers = texts.map { strdup($0) } + [nil]
    }

    deinit {
        for pointer in pointers { free(pointer) }
    }
}

/// How a child ended.
public enum WaitStatus: Equatable, Sendable, CustomStringConvertible {
    /// It called exit with this code.
    case exited(CInt)
    /// This signal killed it.
    case killed(CInt)

    public var description: String {
        switch self {
        case .exited(let code): "exit code \(code)"
        case .killed(SIGSYS): "signal \(SIGSYS), for a system call that it must not make; the audit log has its number"
        case .killed(let signal): "signal \(signal) (\(String(cString: strsignal(signal))))"
        }
    }
}

/// A child that was started and is not yet reaped.
///
/// It can be reaped only once: afterwards its ID may be another process's. A child that nobody waits for lives on.
public struct ChildProcess: ~Copyable, Sendable {
    /// The child, by a pidfd.
    public let reference: ProcessHandle
    private let path: String

    /// How long a process may take to be gone after SIGKILL, in milliseconds.
    ///
    /// A process that waits for a broken disk or file server does not react to signals.
    private static let deathTimeout = 5000

    init(_ reference: consuming ProcessHandle, _ path: String) {
        self.reference = reference
        self.path = path
    }

    /// Its process ID, which no other process gets until this one is reaped.
    public var process: pid_t { reference.process }

    /// Waits until it has ended, and reaps it; use it for a program that is sure to end. waitpid(2)
    public consuming func wait() throws(Failure) -> WaitStatus {
        var status: CInt = 0
        let (process, path) = (reference.process, path)
        try systemCall("waitpid", "cannot wait for \(path)") { waitpid(process, &status, 0) }
        // wait(2): WIFEXITED, WEXITSTATUS and WTERMSIG are macros.
        let signal = status & 0x7f
        return signal == 0 ? .exited((status >> 8) & 0xff) : .killed(signal)
    }

    /// Waits until it has ended, kills it at the deadline, and reaps it.
    ///
    /// - Throws: ``Failure`` if not even SIGKILL has ended it in time. Then it is left to the process that reaps
    ///   orphans.
    public consuming func wait(until deadline: Deadline) throws(Failure) -> WaitStatus {
        let number = reference.descriptor.number
        if try Platform.wait(for: number, until: deadline) == 0 {
            kill()
            guard try Platform.wait(for: number, until: Deadline(milliseconds: Self.deathTimeout)) != 0 else {
                throw Failure("cannot end \(path)", because: "process \(process) did not die of SIGKILL")
            }
        }
        return try wait()
    }

    /// Kills it and reaps it.
    public consuming func end() throws(Failure) -> WaitStatus {
        kill()
        return try wait(until: Deadline(milliseconds: 0))
    }

    /// Kills it; the caller still has to reap it.
    public borrowing func kill() {
        reference.kill()
    }
}
