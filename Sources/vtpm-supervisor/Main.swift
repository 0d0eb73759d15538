import Glibc
import Platform
import RuntimeControl
import RuntimeSupervisor

/// `vtpm-supervisor WORKER`: the process that keeps a container's vTPM running.
///
/// Only `vtpm-hook` starts it, with a channel as descriptor 3 and the path of the worker's program as the argument.
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
        guard CommandLine.arguments.count == 2 else {
            Log.error("cannot start the supervisor: the hook names no worker's program")
            exit(64)
        }
        do throws(Failure) {
            try Supervisor.run(
                hook: Channel(owning: Descriptor(owning: 3), peer: "hook"),
                worker: CommandLine.arguments[1]
            )
        } catch {
            exit(1)
        }
    }
}
