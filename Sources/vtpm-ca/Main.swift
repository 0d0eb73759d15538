import Authority
import Glibc
import Platform
import RuntimeControl

/// `vtpm-ca`: the process that certifies a TPM's endorsement keys while the TPM starts for the first time, and ends.
///
/// Only the hook and `vtpmctl` start it, with a channel as descriptor 3.
@main
struct Main {
    static func main() {
        do throws(Failure) {
            // It inherits what cannot be reset from the hook, which has logged it.
            _ = try Inheritance.reset(from: .ours)
            try Hardening.protectMemory()
            try Authority(channel: Channel(owning: Descriptor(owning: 3), peer: "starter")).run()
        } catch {
            exit(1)
        }
    }
}
