import Glibc
import Platform
import RuntimeWrapper

/// `vtpm-runtime ARGUMENT...`: an OCI runtime, which prepares a container's TPM and becomes the real runtime.
@main
struct Main {
    static func main() {
        do throws(Failure) {
            try RuntimeWrapper.run()
        } catch {
            StandardError.write("vtpm-runtime: \(error)")
            exit(1)
        }
    }
}
