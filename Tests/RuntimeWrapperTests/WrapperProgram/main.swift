import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeWrapper

// `vtpm-runtime` with a configuration beside it, `NAME.toml`, and as a process that adopts orphans if there is a file
// `NAME.subreaper`; under the name `vtpm-hook`, what prepares a container's TPM, as far as `BUNDLE/answer` says, or a
// command's, as far as `answer` beside it says.
let arguments = CommandLine.arguments
do {
    if arguments[0] == "vtpm-hook", arguments[1] == "run" {
        try serveCommand()
    } else if arguments[0] == "vtpm-hook" {
        try prepare(verb: arguments[2], bundle: arguments[4])
    } else {
        if access("\(arguments[0]).subreaper", F_OK) == 0 { _ = clinux_prctl(PR_SET_CHILD_SUBREAPER, 1) }
        try RuntimeWrapper.run(arguments, configuration: "\(arguments[0]).toml")
    }
} catch {
    StandardError.write("\(error)")
    exit(1)
}

private func prepare(verb: String, bundle: String) throws {
    let asked = try Descriptor.open("\(bundle)/asked", OpenOptions(O_WRONLY | O_CREAT | O_APPEND, mode: 0o600))
    try asked.writeAll(Array((arguments.joined(separator: " ") + "\n").utf8), "asked")
    let answer = try Descriptor.open("\(bundle)/answer", .read).readAll(limit: 100, "answer")
    let channel = Channel(owning: Descriptor(owning: 3), peer: "vtpm-runtime")
    switch String(decoding: answer, as: UTF8.self) {
    case "prepared": try channel.send(PreparationReply.prepared)
    case "nothing",
        _ where verb == "undo":
        try channel.send(PreparationReply.nothing)
    case "failure": try channel.send(PreparationReply.failure(Failure("cannot do it", because: "it is a test")))
    case "nonsense": try [UInt8]().withUnsafeBytes { try channel.send(kind: 9, $0) }
    default: return
    }
    // As the real one, it stays while the runtime goes on: until somebody opens the pipe.
    _ = open("\(bundle)/hold", O_RDONLY)
}

private func serveCommand() throws {
    let folder = String(try Procfs().link("self/exe").dropLast("/vtpm-hook".utf8.count))
    let asked = try Descriptor.open("\(folder)/asked", OpenOptions(O_WRONLY | O_CREAT | O_APPEND, mode: 0o600))
    try asked.writeAll(Array((arguments.joined(separator: " ") + "\n").utf8), "asked")
    let channel = Channel(owning: Descriptor(owning: 3), peer: "vtpm-run")
    let answer = try Descriptor.open("\(folder)/answer", .read).readAll(limit: 100, "answer")
    if String(decoding: answer, as: UTF8.self) == "refused" {
        return try channel.send(PreparationReply.failure(Failure("cannot do it", because: "it is a test")))
    }
    guard let message = try channel.receive(into: Channel.makeBuffer()), case .ready? = CommandNotice(message) else {
        return
    }
    // Until somebody opens the pipe.
    if String(decoding: answer, as: UTF8.self) == "held" { _ = open("\(folder)/hold", O_RDONLY) }
    try channel.send(PreparationReply.prepared)
}
