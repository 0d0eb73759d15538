import Glibc
import Platform
import RuntimeControl
import RuntimeWorker

/// `vtpm-worker`: started by `vtpm-supervisor` with a channel as descriptor 3, and by nobody else.
@main
struct Main {
    static func main() {
        let worker = Worker(channel: Channel(owning: Descriptor(owning: 3), peer: "supervisor"))
        do throws(Failure) {
            try worker.run()
        } catch {
            exit(1)
        }
    }
}
