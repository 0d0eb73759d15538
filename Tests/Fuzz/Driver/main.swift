import CFuzzer
import Glibc
import Platform

// fuzz TARGET [libFuzzer's arguments]: `Tests/Fuzz/run` starts it.
// fuzz serve DESCRIPTOR: a TPM behind a socket, for `Tests/Fuzz/tpm-recorder`.

if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "serve", let number = CInt(CommandLine.arguments[2]) {
    serveWorker(on: Descriptor(owning: number))
    exit(0)
}
guard CommandLine.arguments.count > 1, let target = FuzzTarget(rawValue: CommandLine.arguments[1]) else {
    print("usage: fuzz TARGET [ARGUMENT...]; targets:", FuzzTarget.allCases.map(\.rawValue).joined(separator: " "))
    exit(2)
}
chosen = target
if target == .worker { AnswerCoverage.install() }

// libFuzzer takes the name of the target for that of the program.
var count = CommandLine.argc - 1
var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv + 1
arguments?.pointee = CommandLine.unsafeArgv[0]
exit(
    LLVMFuzzerRunDriver(&count, &arguments) { data, size in
        chosen.run(UnsafeRawBufferPointer(start: data, count: size))
        return 0
    }
)
