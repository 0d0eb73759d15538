import Foundation
import Glibc
import Platform
import Testing

@testable import CommandRun

/// `vtpmctl run`, with a stand-in for the hook: what the command gets, and what the caller sees.
@Suite struct RunTests {
    private let folder: WrapperFolder
    private let caller: Caller

    init() throws {
        folder = try WrapperFolder()
        caller = Caller(folder: folder)
        try folder.install(["vtpm-hook"])
        try folder.install(["vtpm-run"], of: "vtpm-run")
        try folder.install(["vtpmctl"], of: "vtpmctl")
        try folder.write("script", Caller.script, mode: 0o755)
        try folder.copy("\(folder.path)/script", to: "command")
        try folder.write("answer", "prepared")
        #expect(symlink("/bin/sh", "\(folder.path)/shell") == 0)
        try caller.prepare()
    }

    private func run(_ arguments: String...) throws -> WaitStatus {
        try caller.start(["run"] + arguments, program: "vtpm-run")
    }

    private func shell(_ script: String) throws -> String {
        let status = try run("--", "sh", "-c", script)
        let errors = try folder.read("err")
        #expect(status == .exited(0), "\(errors)")
        return try folder.read("out")
    }

    // MARK: - What needs no privilege

    @Test func argumentsAreReadUpToTwoDashes() throws {
        func read(_ words: String...) -> RunRequest? { RunRequest(["vtpmctl", "run"] + words) }
        #expect(read("--", "a", "--state", "--")?.command == ["a", "--state", "--"])
        #expect(read("--", "a")?.stateID == nil)
        #expect(read("--ephemeral", "--", "a")?.command == ["a"])
        for words in [["--state", "b/c"], ["--state=b/c"]] {
            let request = try #require(RunRequest(["vtpmctl", "run"] + words + ["--", "a", "-b"]))
            #expect(request.stateID == "b/c")
            #expect(request.command == ["a", "-b"])
        }
        #expect(read("--state=", "--", "a")?.stateID == "")
        #expect(read("--state=--b", "--", "a")?.stateID == "--b")
        for words in [
            [], ["--"], ["a"], ["--help"], ["--state"], ["--state", "b", "--ephemeral", "--", "a"],
            ["--state", "--", "a"], ["--state", "--", "--", "a"], ["--state", "--ephemeral", "--", "a"],
            ["--state", "b", "--state", "c", "--", "a"],
            ["--state=b", "--state=c", "--", "a"], ["--sudo", "--", "a"], ["-h", "--", "a"],
        ] {
            #expect(RunRequest(["vtpmctl", "run"] + words) == nil, "\(words)")
        }
        #expect(RunRequest(["vtpmctl", "list", "--", "a"]) == nil)
        #expect(RunRequest(["vtpmctl"]) == nil)
        #expect(RunRequest([]) == nil)
    }

    @Test func theTPMsOfTheHostAreKnownByTheirNames() {
        for name in ["tpm0", "tpm12", "tpmrm0", "tpmrm65535"] { #expect(PrivateDev.isTPM(name), "\(name)") }
        for name in ["tpm", "tpmrm", "vtpmx", "tpm0a", "tpmx", "tty0", "rtpm0", "tpmr0", "tpm-0", "tpm٣"] {
            #expect(!PrivateDev.isTPM(name), "\(name)")
        }
    }

    @Test func whatIsMountedOverIsKnown() {
        for path in ["/dev", "/dev/pts", "/sys/class/tpm", "/sys/devices/virtual/tpmrm/tpmrm0"] {
            #expect(PrivateDev.isHidden(path), "\(path)")
        }
        for path in ["/", "/devices", "/mnt/dev", "/sys/class/tpmx", "/sys"] {
            #expect(!PrivateDev.isHidden(path), "\(path)")
        }
    }

    @Test func aCommandIsSearchedForAsTheCLibraryDoes() throws {
        try folder.write("data", "")
        #expect(CommandSearch.candidates("a", "/b::/c") == ["/b/a", "a", "/c/a"])
        #expect(CommandSearch.candidates("./a", "/b") == ["./a"])
        #expect(CommandSearch.problem("command", path: "/nowhere:\(folder.path)") == nil)
        #expect(CommandSearch.problem("sh", path: nil) == nil)
        #expect(CommandSearch.problem("command", path: "/nowhere")?.code == ENOENT)
        #expect(CommandSearch.problem("data", path: "\(folder.path):/nowhere")?.code == EACCES)
        #expect(CommandSearch.problem(folder.path, path: nil)?.code == EACCES)
        #expect(CommandSearch.problem("", path: folder.path)?.code == ENOENT)
    }

    @Test func whatIsNoRunIsLeftToTheOperatorsProgram() throws {
        #expect(try caller.start(["version"], program: "vtpm-run") == .exited(0))
        #expect(try folder.read("out") == "vtpmctl \(productVersion)\n")
        #expect(try run("--help") == .exited(0))
        #expect(try folder.read("out").contains("USAGE: vtpmctl run"))
        #expect(!folder.exists("asked"))
    }

    /// Not 64, which a command may mean something by.
    @Test(arguments: [
        (["sh", "-c", "true"], "Give a command, after --."), (["--"], "Give a command, after --."),
        ([], "Give a command"),
        (["--state", "a", "--ephemeral", "--", "true"], "Give one of --state and --ephemeral."),
        (["--sudo", "--", "true"], "Unknown option '--sudo'"),
        (["--state", "--ephemeral", "--", "true"], "Missing value for '--state <state>'"),
        (["--state", "a", "--state=b", "--", "true"], "Give --state once."),
    ])
    func wrongArgumentsAreExplained(_ arguments: [String], _ reason: String) throws {
        #expect(try caller.start(["run"] + arguments, program: "vtpm-run") == .exited(125))
        let said = try folder.read("err")
        #expect(said.contains(reason), "\(said)")
        #expect(!folder.exists("asked"))
    }

    /// Nothing has been made for it: a state must not come of a typing error.
    @Test func aCommandThatCannotBeExecutedHasItsOwnExitCode() throws {
        try folder.write("data", "")
        #expect(try run("--state", "web", "--", "no-such-command") == .exited(127))
        #expect(
            try folder.read("err") == "vtpmctl: cannot execute no-such-command: execvp: No such file or directory\n"
        )
        #expect(try run("--", "./data") == .exited(126))
        #expect(try folder.read("err") == "vtpmctl: cannot execute ./data: execvp: Permission denied\n")
        #expect(!folder.exists("asked"))
    }

    /// It may go to the program, which is in root's folder, and do nothing else that root may.
    @Test(.enabled(if: geteuid() == 0, "needs root")) func somebodyElseIsRefused() throws {
        #expect(chmod("\(folder.path)/vtpm-run", 0o755) == 0)
        let nobody = "setpriv --reuid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
        let status = try caller.start(["-c", "exec \(nobody) '\(folder.path)/vtpm-run' run -- true"], program: "shell")
        #expect(status == .exited(125))
        #expect(try folder.read("err") == "vtpmctl: cannot give the command a TPM: it needs root\n")
        #expect(!folder.exists("asked"))
    }

    // MARK: - A /dev of its own

    private static let isPossible = geteuid() == 0 && unshareWorks

    private static var unshareWorks: Bool {
        let launch = ProgramLaunch("/usr/bin/unshare", ["unshare", "--mount", "true"])
        return (try? launch.start().wait()) == .exited(0)
    }

    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func theCommandGetsExactlyWhatTheCallerHasSetUp() throws {
        let command = ["\(folder.path)/command", "--odd=\u{1b}\n", "", "ü", "--", "-x"]
        try caller.expectTheSame(
            direct: (Array(command.dropFirst()), "command"),
            ["run", "--state", "a b/c", "--"] + command,
            of: "vtpm-run"
        )
        #expect(try folder.read("asked") == "vtpm-hook run a b/c\n")
        // There is no child but the `cat` that has read this.
        if folder.exists("got/children") { #expect(try folder.read("got/children").split(separator: " ").count == 1) }
    }

    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func itsDevHasAllButTheTPMs() throws {
        let list = "cd /dev && ls --almost-all | LC_ALL=C sort"
        let host = try shellOutput(list)
        let own = try shell(list)
        let expected = host.split(separator: "\n").filter { !PrivateDev.isTPM(String($0)) }
        #expect(own.split(separator: "\n") == expected)
        #expect(expected.contains("null"))
        // The same devices, not others of their names; and what is mounted in directories.
        let kinds = "cd /dev && stat --format '%n %F %t:%T %a' null zero full random urandom tty ptmx fd; ls pts shm"
        #expect(try shell(kinds) == shellOutput(kinds))
        #expect(try shell("stat --file-system --format %T /dev; echo data >/dev/shm/$$; rm /dev/shm/$$") == "tmpfs\n")
        #expect(try shell("echo data >/dev/null; head -c 4 /dev/zero | od -A n -t x1") == " 00 00 00 00\n")
        #expect(try shellOutput(list) == host)
    }

    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func nothingOfItSpreads() throws {
        defer { unlink("/dev/only-here") }
        let before = try shellOutput("cat /proc/self/mountinfo")
        let own = try shell("touch /dev/only-here && mount -t tmpfs tests /mnt && cat /proc/self/mountinfo")
        #expect(own != before)
        #expect(own.contains(" - tmpfs tests "))
        #expect(try shellOutput("cat /proc/self/mountinfo") == before)
        #expect(access("/dev/only-here", F_OK) != 0)
    }

    /// Its working directory too, where a relative path would lead to the host's devices.
    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func aWorkingDirectoryInDevIsItsOwn() throws {
        defer { unlink("/dev/only-here") }
        func run(in directory: String, _ script: String) throws -> String {
            try shellOutput("cd \(directory) && exec '\(folder.path)/vtpm-run' run -- sh -c '\(script)'")
        }
        #expect(try run(in: "/dev", "/bin/pwd; : >./only-here && [ -e /dev/only-here ]") == "/dev\n")
        #expect(try run(in: "/dev/shm", "/bin/pwd; : >../only-here && [ -e /dev/only-here ]") == "/dev/shm\n")
        #expect(access("/dev/only-here", F_OK) != 0)
        #expect(try run(in: "/usr", "/bin/pwd") == "/usr\n")
    }

    /// The command has been found, and a TPM made: its state may be there now.
    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func whatCannotBeExecutedAfterAllIsNotMissing() throws {
        try folder.write("orphan", "#!/no/interpreter\n", mode: 0o755)
        #expect(try run("--", "./orphan") == .exited(126))
        #expect(try folder.read("err") == "vtpmctl: cannot execute ./orphan: execvp: No such file or directory\n")
        #expect(folder.exists("asked"))
    }

    /// Only a person is told: a script may count what is said.
    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func whoWaitsAtATerminalIsTold() throws {
        try folder.write("answer", "held")
        #expect(mkfifo("\(folder.path)/hold", 0o600) == 0)
        // The hook answers when the line is there.
        let said = try shellOutput(
            "script --quiet --return --flush --command \"'\(folder.path)/vtpm-run' run -- echo done\" typescript >shown & "
                + "until grep -q waiting typescript 2>/dev/null; do sleep 0.1; done; : >hold; wait $!; tr -d '\\r' <shown"
        )
        #expect(said == "vtpmctl: waiting for a TPM\ndone\n")
    }

    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func theHostsTPMsAreNotInSysfsEither() throws {
        let look = "for class in tpm tpmrm; do [ ! -e /sys/class/$class ] || ls /sys/class/$class; done"
        #expect(try shell(look) == "")
    }

    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func aRefusalIsOneLineAndItsOwnExitCode() throws {
        try folder.write("answer", "refused")
        #expect(try run("--", "touch", "\(folder.path)/ran") == .exited(125))
        #expect(try folder.read("err") == "vtpmctl: cannot do it: it is a test\n")
        #expect(!folder.exists("ran"))
        #expect(unlink("\(folder.path)/answer") == 0)
        #expect(try run("--", "touch", "\(folder.path)/ran") == .exited(125))
        #expect(
            try folder.read("err")
                == "vtpmctl: cannot give the command a TPM: the preparing process ended (see the system log)\n"
        )
        #expect(!folder.exists("ran"))
    }

    @Test(.enabled(if: isPossible, "needs root and mount namespaces"))
    func theEndOfTheCommandIsTheCallers() throws {
        #expect(try run("--", "sh", "-c", "exit 7") == .exited(7))
        #expect(try run("--", "sh", "-c", "kill -TERM $$") == .killed(SIGTERM))
        #expect(try run("--", "sh", "-c", "kill -KILL $$") == .killed(SIGKILL))
    }

    private func shellOutput(_ script: String) throws -> String {
        #expect(try caller.start(["-c", script], program: "shell") == .exited(0))
        return try folder.read("out")
    }
}
