import Glibc
import OCIHook
import Platform

/// `vtpm-hook STAGE`: an OCI hook, with the container's state on standard input.
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
