import Glibc
import Platform
import RuntimeControl
import RuntimeWorker

/// `vtpm-worker`: the process that runs a vTPM's libtpms.
///
/// Only `vtpm-supervisor` and the trial start of `vtpmctl` start it, with a channel as descriptor 3.
@main
struct Main {
    static func main() {
        do throws(Failure) {
            // The worker inherits what cannot be reset from its supervisor, which has logged it.
            _ = try Inheritance.reset(from: .ours)
            try Worker(channel: Channel(owning: Descriptor(owning: 3), peer: "supervisor")).run()
        } catch {
            exit(1)
        }
    }
}
