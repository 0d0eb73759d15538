import Glibc
import Platform
import RuntimeControl
import SystemdBus

/// `vtpm-systemd`: the process that talks with systemd for `vtpm-hook` and `vtpmctl`.
///
/// Only these start it, with a channel as descriptor 3.
@main
struct Main {
    static func main() {
        do throws(Failure) {
            // It inherits what cannot be reset from the hook, which has logged it.
            _ = try Inheritance.reset(from: .ours)
            try Hardening.protectMemory()
            try Hardening.forbidNewPrivileges()
            try SystemdService(channel: Channel(owning: Descriptor(owning: 3), peer: "client")).run()
        } catch {
            exit(1)
        }
    }
}
