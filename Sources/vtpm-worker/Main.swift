import Glibc
import Platform
import RuntimeControl
import RuntimeWorker

/// `vtpm-worker`: started by `vtpm-supervisor` with a channel as descriptor 3, and by nobody else.
@main
struct Main {
    static func main() {
        do throws(Failure) {
            // What cannot be reset it has from its supervisor, whose log has it.
            _ = try Inheritance.reset(from: .ours)
            try Worker(channel: Channel(owning: Descriptor(owning: 3), peer: "supervisor")).run()
        } catch {
            exit(1)
        }
    }
}
