import Glibc
import Platform

/// The cgroup that the hook has made for a vTPM on a host without systemd, which the supervisor removes at its end.
public final class OwnCgroup {
    private let name: String
    /// The directory that has the cgroups of all vTPMs.
    let parent: Descriptor
    /// `cgroup.procs` of the cgroup that supervisors leave theirs for.
    private let exit: Descriptor

    /// The timeout for the kernel to let go of the worker, in milliseconds.
    private static let timeout = 1000

    /// Takes the name, and the descriptors that the hook has passed.
    public init(_ name: String, in parent: consuming Descriptor, exit: consuming Descriptor) {
        self.name = name
        self.parent = parent
        self.exit = exit
    }

    /// Leaves the cgroup and removes it, unless the next vTPM of the same container is in it.
    ///
    /// Entering another takes the kernel an RCU grace period, so it is the last thing that a supervisor does.
    func remove() {
        do throws(Failure) {
            // 0 stands for the writing process. cgroups(7)
            try exit.writeAll([UInt8(ascii: "0")], "cgroup.procs")
            // The worker has ended, so that the first attempt nearly always succeeds. cgroup.events, which would tell, is out
            // of reach: the confinement allows to remove cgroups, and to open nothing there.
            _ = try Deadline(milliseconds: Self.timeout).wait { () throws(Failure) in
                do throws(Failure) {
                    try Platform.remove(name, at: parent, flags: AT_REMOVEDIR, "the control group \(name)")
                    return true
                } catch {
                    guard error.code == EBUSY else { throw error }
                    return false
                }
            }
        } catch {
            Log.error("\(error)")
        }
    }
}
