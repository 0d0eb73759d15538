import Glibc
import OCIHook
import Platform

/// `vtpm-hook STAGE`: an OCI hook, with the container's state on standard input.
@main
struct Main {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments == [AccessProbe.argument] { exit(AccessProbe.runChild()) }
        do throws(Failure) {
            try Hook.run(arguments)
        } catch {
            let line = Array("vtpm-hook: \(error)\n".utf8)
            _ = write(STDERR_FILENO, line, line.count)
            exit(1)
        }
    }
}
