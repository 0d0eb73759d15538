import Glibc
import Platform
import RuntimeControl
import RuntimeSupervisor

/// `vtpm-supervisor WORKER [CGROUP]`: the process that keeps a container's vTPM running.
///
/// Only `vtpm-hook` starts it, with a channel as descriptor 3 and the path of the worker's program as the argument. On a
/// host without systemd the name of its cgroup follows, and descriptors 4 and 5 are what ``OwnCgroup`` takes.
@main
struct Main {
    static func main() {
        do throws(Failure) {
            let notReset = try Inheritance.reset(from: .ours)
            Log.open("vtpm-supervisor")
            for failure in notReset { Log.notice("\(failure)") }
        } catch {
            Log.open("vtpm-supervisor")
            Log.error("\(error)")
            exit(1)
        }
        let arguments = CommandLine.arguments
        guard arguments.count == 2 || arguments.count == 3 else {
            Log.error("cannot start the supervisor: the hook names no worker's program")
            exit(64)
        }
        do throws(Failure) {
            try Supervisor.run(
                hook: Channel(owning: Descriptor(owning: 3), peer: "hook"),
                worker: arguments[1],
                in: arguments.count == 3
                    ? OwnCgroup(arguments[2], in: Descriptor(owning: 4), exit: Descriptor(owning: 5)) : nil
            )
        } catch {
            exit(1)
        }
    }
}
