import Foundation
import Glibc
import JSONText
import Platform
import Testing

@testable import RuntimeWrapper

/// The program as an engine starts it, with a script in the runtime's place that writes down what it got.
@Suite struct WrapperTests {
    private let folder: WrapperFolder
    private let caller: Caller

    init() throws {
        folder = try WrapperFolder()
        caller = Caller(folder: folder)
        try folder.install(["vtpm-runtime", "vtpm-hook"])
        try folder.write("script", Caller.script, mode: 0o755)
        try folder.copy("\(folder.path)/script", to: "runtime")
        try folder.write("vtpm-runtime.toml", "[runtime]\npath = \"\(folder.path)/runtime\"\n")
        #expect(mkdir("\(folder.path)/bundle", 0o700) == 0)
        try caller.prepare()
    }

    private var environment: [String] { caller.environment }

    @discardableResult
    private func start(_ arguments: [String]) throws -> WaitStatus {
        try caller.start(arguments, program: "vtpm-runtime")
    }

    private func attributes(_ out: String) throws -> [String] { try caller.attributes(out) }

    private func expectTheSame(_ arguments: [String]) throws {
        try caller.expectTheSame(direct: (arguments, "runtime"), arguments, of: "vtpm-runtime")
    }

    private let creation = [
        "--root", "/r", "--log", "log", "--log-format", "json", "create", "--bundle", "bundle", "--pid-file", "p",
        "web",
    ]

    @Test func `the runtime gets exactly what the engine has set up`() throws {
        try expectTheSame(["--odd=\u{1b}\n", "state", "", "ü", "--", "-x"])
        // The comparison would pass if the engine's own set-up did nothing.
        #expect(try folder.read("got/environ") == environment.map { "\($0)\0" }.joined())
        let attributes = try attributes("got").map { $0.replacing("\t", with: "") }
        #expect(attributes.contains("Umask:0027"))
        for (name, signal) in [("SigBlk:", SIGUSR2), ("SigIgn:", SIGHUP)] {
            let line = try #require(attributes.first { $0.hasPrefix(name) })
            let set = try #require(UInt64(line.dropFirst(name.count), radix: 16))
            #expect(set & 1 << UInt64(signal - 1) != 0, "\(line)")
        }
        #expect(try folder.read("got/limits").contains(#/Max open files\s+77 /#))
        let descriptors = ["in", "out", "err", "3", "4", "5", "6", "7"].map { "\(folder.path)/\($0)" }
        #expect(
            try folder.read("got/descriptors")
                == (descriptors + ["none", "\(folder.path)/9", ""]).joined(separator: "\n")
        )
        let words = ["/bin/bash", "\(folder.path)/runtime", "--odd=\u{1b}\n", "state", "", "ü", "--", "-x", ""]
        #expect(try folder.read("got/cmdline") == words.joined(separator: "\0"))
    }

    /// A script's own name is not among its arguments; a program's is.
    @Test func `the runtime's name is its path`() throws {
        try folder.write("vtpm-runtime.toml", "[runtime]\npath = \"/bin/sh\"\n")
        #expect(try start(["-c", "cat /proc/$$/cmdline; exit 7"]) == .exited(7))
        #expect(try folder.read("out") == "/bin/sh\0-c\0cat /proc/$$/cmdline; exit 7\0")
    }

    private func answer(_ text: String) throws {
        try folder.write("bundle/answer", text)
        #expect(mkfifo("\(folder.path)/bundle/hold", 0o600) == 0)
    }

    /// Lets the preparing process end, which waits in open(2).
    private func release() {
        let deadline = Deadline(milliseconds: 60_000)
        while !deadline.hasPassed {
            let pipe = open("\(folder.path)/bundle/hold", O_WRONLY | O_NONBLOCK)
            if pipe >= 0 {
                close(pipe)
                return
            }
        }
        Issue.record("the preparing process has not stayed")
    }

    @Test(arguments: ["prepared", "nothing"])
    func `nothing changes after a preparation`(text: String) throws {
        try folder.write("bundle/answer", text)
        try expectTheSame(["state"])
        for name in ["got", "direct"] { try FileManager.default.removeItem(atPath: "\(folder.path)/\(name)") }
        try FileManager.default.removeItem(atPath: "\(folder.path)/bundle/answer")
        try answer(text)
        try expectTheSame(creation)
        // A runtime waits for all of its children: there is none but the `cat` that has read this.
        if folder.exists("got/children") { #expect(try folder.read("got/children").split(separator: " ").count == 1) }
        release()
        let bundle = try #require(realpath("\(folder.path)/bundle", nil).map { String(cString: $0) })
        #expect(try folder.read("bundle/asked") == "vtpm-hook prepare create web \(bundle)\n")
    }

    /// execve(2) keeps that a process adopts orphans; the runtime does so too, but has no child that it has not started.
    @Test func `a subreaper that becomes the wrapper does not adopt the preparing process`() throws {
        try folder.write("vtpm-runtime.subreaper", "")
        try answer("prepared")
        #expect(try start(creation) == .exited(42))
        if folder.exists("got/children") { #expect(try folder.read("got/children").split(separator: " ").count == 1) }
        release()
        let adopter = try folder.read("got/adopter").split(separator: "\n")
        #expect(adopter.count == 2 && adopter.first == adopter.last, "\(adopter)")
    }

    @Test(arguments: [
        ("failure", "cannot do it: it is a test"),
        ("nonsense", "cannot prepare a TPM for container \"web\": the preparing process's answer makes no sense"),
    ])
    func `a failure keeps the runtime from being executed`(text: String, line: String) throws {
        try answer(text)
        let status = try start(creation)
        let errors = try folder.read("err")
        #expect(status == .exited(1), "\(errors)")
        release()
        #expect(!folder.exists("got"))
        #expect(try folder.read("err").trimmingCharacters(in: .newlines) == line)
        let log = try JSONText(parsing: Array(folder.read("log").utf8), path: "log", limit: 1 << 16)
        #expect(log.root["msg"]?.string == "vtpm-runtime: \(line)")
    }

    /// Another process puts the bundle's own `config.json` back.
    @Test func `a preparing process that was killed is followed by one that undoes`() throws {
        try answer("death")
        #expect(try start(creation) == .exited(1))
        release()
        #expect(!folder.exists("got"))
        let line = "cannot prepare a TPM for container \"web\": the preparing process ended (see the system log)"
        #expect(try folder.read("err").trimmingCharacters(in: .newlines) == line)
        #expect(
            try folder.read("bundle/asked").split(separator: "\n").map { $0.split(separator: " ")[2] } == [
                "create", "undo",
            ]
        )
    }

    @Test func `a bundle that is not there is refused`() throws {
        #expect(try start(["create", "-b", "nowhere", "web"]) == .exited(1))
        #expect(try folder.read("err") == "cannot find the bundle nowhere: realpath: No such file or directory\n")
        #expect(!folder.exists("got"))
    }

    /// The kernel sends SIGXFSZ to who writes beyond RLIMIT_FSIZE.
    @Test func `an error is told where no file may grow`() throws {
        let line = "cannot find the bundle nowhere: realpath: No such file or directory\n"
        let script = """
            cd "$1" && { (ulimit -f 0 && exec "$1/vtpm-runtime" --log log create -b nowhere web) 2>&1
            echo $?; } | cat >err
            """
        let shell = ProgramLaunch("/bin/bash", ["bash", "-c", script, "bash", folder.path])
        #expect(try shell.start().wait() == .exited(0))
        #expect(try folder.read("err") == line + "1\n")
    }

    @Test func `what is not understood is refused, and logged`() throws {
        #expect(try start(["--log", "log", "create", "--config", "c", "web"]) == .exited(1))
        #expect(!folder.exists("got"))
        let line =
            "cannot prepare a TPM: --config names another file than the bundle's config.json (put it into a bundle)"
        #expect(try folder.read("err") == "\(line)\n")
        #expect(try folder.read("log") == "vtpm-runtime: \(line)\n")
    }

    @Test(arguments: [["state", "web"], ["create", "web"]])
    func `a runtime that others can exchange is not executed`(arguments: [String]) throws {
        #expect(mkdir("\(folder.path)/open", 0o700) == 0)
        #expect(rename("\(folder.path)/runtime", "\(folder.path)/open/runtime") == 0)
        #expect(chmod("\(folder.path)/open", 0o777) == 0)
        let path = "\(folder.path)/open/runtime"
        try folder.write("vtpm-runtime.toml", "[runtime]\npath = \"\(path)\"\n")
        #expect(try start(arguments) == .exited(1))
        #expect(!folder.exists("got"))
        let folder = "\(folder.path)/open"
        #expect(
            try self.folder.read("err")
                == "cannot execute \(path): another user could change the program: the mode of \(folder) is 0777 "
                + "(chmod go-w \(folder))\n"
        )
    }

    @Test func `a runtime that is not there is named`() throws {
        #expect(unlink("\(folder.path)/runtime") == 0)
        #expect(try start(["state", "web"]) == .exited(1))
        #expect(
            try folder.read("err").hasSuffix(
                "(install runc or crun, or name the runtime in /etc/container-vtpm/config.toml: [runtime] path)\n"
            )
        )
    }

    /// Another runtime would take the containers of this one for gone.
    @Test func `no other runtime stands in for one that cannot be read`() throws {
        for text in ["[runtime]\npath = 7\n", "[runtime\n"] {
            try folder.write("vtpm-runtime.toml", text)
            for verb in ["create", "delete"] {
                #expect(try start([verb, "web"]) == .exited(1))
                #expect(try folder.read("err").contains("vtpm-runtime.toml"))
            }
        }
        #expect(!folder.exists("got"))
        // One in another table is nobody's business here.
        try folder.write("vtpm-runtime.toml", "[state]\nid = 7\n[runtime]\npath = \"\(folder.path)/runtime\"\n")
        #expect(try start(["state", "web"]) == .exited(42))
    }
}
