import Glibc
import Platform
import RuntimeControl

/// The process that becomes the runtime, for which a vTPM is prepared before its container has an init.
struct RuntimeProcess: ~Copyable {
    let process: ProcessHandle
    let identity: ProcessID
    let procfs: Procfs

    /// Finds the process at the other end of the channel, which waits there for its answer.
    init(at channel: Channel) throws(Failure) {
        let pid = try ControlSocket.peer(of: channel)
        let process = try ProcessHandle(pid)
        let identity = try ProcessID(of: pid)
        let procfs = try Procfs()
        // Its number was its own for as long as it was at the other end.
        let events = try wait(for: channel.descriptor.number, 0, until: Deadline(milliseconds: 0))
        guard events & CInt(POLLHUP) == 0, try process.isAlive() else { throw Self.ended }
        self.process = process
        self.identity = identity
        self.procfs = procfs
    }

    /// What shows the end of what the vTPM is for.
    borrowing func watch() throws(Failure) -> ContainerWatch {
        ContainerWatch(initProcess: try process.descriptor.duplicate(), cgroupEvents: nil)
    }

    /// Throws if the process has ended.
    borrowing func check() throws(Failure) {
        guard try process.isAlive() else { throw Self.ended }
    }

    /// Why nothing comes of a preparation whose runtime has ended.
    static let ended = Failure("cannot start the vTPM", because: "the runtime ended before it called the hook")
}
