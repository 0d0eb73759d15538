import Glibc
import Platform

/// A program that a test has started, and that several of its parts know.
final class RunningProgram {
    let process: pid_t
    private var child: ChildProcess?

    convenience init(_ launch: ProgramLaunch) throws {
        self.init(try launch.start())
    }

    init(_ child: consuming ChildProcess) {
        process = child.process
        self.child = consume child
    }

    deinit {
        kill()
        _ = try? wait()
    }

    func kill() {
        switch child {
        case .none: break
        case .some(let child): child.kill()
        }
    }

    /// Waits until it has ended, once.
    func wait(until deadline: Deadline = Deadline(milliseconds: 60_000)) throws -> WaitStatus {
        switch child.take() {
        case .none: throw Failure("cannot wait for process \(process)", because: "that was done already")
        case .some(let child): try child.wait(until: deadline)
        }
    }
}
