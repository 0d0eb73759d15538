import Glibc
import OCIHook
import Platform

/// `vtpm-hook STAGE [--config FILE]`: an OCI hook, which reads the container's state from standard input.
@main
struct Main {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments == [DeviceAccessProbe.argument] { exit(DeviceAccessProbe.runChild()) }
        do throws(Failure) {
            try Hook.run(arguments)
        } catch {
            StandardError.write("vtpm-hook: \(error)")
            exit(1)
        }
    }
}
