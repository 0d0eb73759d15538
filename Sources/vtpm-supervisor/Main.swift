import Glibc
import Platform
import RuntimeControl
import RuntimeSupervisor

/// `vtpm-supervisor`: started by `vtpm-hook` with a channel as descriptor 3, and by nobody else.
@main
struct Main {
    static func main() {
        Log.open("vtpm-supervisor")
        do throws(Failure) {
            try Supervisor.run(hook: Channel(owning: Descriptor(owning: 3), peer: "hook"))
        } catch {
            exit(1)
        }
    }
}
