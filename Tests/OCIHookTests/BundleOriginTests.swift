import Glibc
import Platform
import RuntimeControl
import Testing

@testable import OCIHook

@Suite struct BundleOriginTests {
    static let hooks = #""hooks": {"createRuntime": [{"path": "/usr/libexec/container-vtpm/vtpm-hook"}]}"#
    static let text = #"{"root": {"path": "rootfs"}, "process": {"user": {"uid": 0}}, \#(hooks)}"#

    let folder: ScratchFolder

    init() throws {
        folder = try ScratchFolder()
        try folder.write("config.json", Self.text)
    }

    private func state(_ root: String = #""rootfs""#) throws -> ContainerState {
        try ContainerState(parsing: Array(#"{"id":"web","pid":7,"root":\#(root),"bundle":"\#(folder.path)"}"#.utf8))
    }

    /// A process in the place of the init, started after the bundle was written, with descriptors of the runtime's.
    private func withInit(
        _ name: String = "sleep",
        _ arguments: [String] = [],
        passing descriptors: [CInt] = [],
        _ body: (borrowing ProcessHandle, UInt64) throws -> Void
    ) throws {
        // Longer than the clocks' steps.
        usleep(60_000)
        var launch = ProgramLaunch("/bin/sh", [name, "-c", "echo ready >&3; read line <&3", "sh"] + arguments)
        let pipe = try Channel.pair(near: "test", far: "init")
        launch.passed = [pipe.far.descriptor.number] + descriptors
        let child = try launch.start()
        do {
            // posix_spawn(3) returns before the kernel has the new command line.
            _ = try pipe.near.receive(into: Channel.makeBuffer())
            try body(child.reference, ProcessID(of: child.process).startTime)
        } catch {
            _ = try? child.end()
            throw error
        }
        _ = try child.end()
    }

    private func check(
        _ initProcess: borrowing ProcessHandle,
        _ start: UInt64,
        _ state: ContainerState? = nil
    ) throws {
        let file = try BundleConfig.load(bundle: folder.path)
        try BundleOrigin.check(file, of: state ?? self.state(), initProcess, startTime: start, Procfs())
    }

    private func refusal(
        _ initProcess: borrowing ProcessHandle,
        _ start: UInt64,
        _ state: ContainerState? = nil
    ) -> String {
        do {
            try check(initProcess, start, state)
            Issue.record("it was accepted")
            return ""
        } catch {
            return "\(error)"
        }
    }

    @Test func theConfigurationOfTheContainerIsTaken() throws {
        try withInit { initProcess, start in
            try check(initProcess, start)
            // runtime-spec knows no such member, so others may mean something else by it.
            try check(initProcess, start, state("{}"))
            try check(initProcess, start, state("null"))
        }
    }

    @Test func anotherRootIsAContradiction() throws {
        try withInit { initProcess, start in
            let line = try refusal(initProcess, start, state(#""other""#))
            let why = "the runtime's root.path is \"other\""
            #expect(line == "cannot use \(folder.path)/config.json: \(why) (\(BundleOrigin.hint))")
        }
    }

    @Test(arguments: ["{}", #"{"hooks": {"poststop": [{"path": "/h"}]}}"#, #"{"hooks": {"createRuntime": []}}"#])
    func aConfigurationWithoutHooksCalledNone(text: String) throws {
        try folder.write("config.json", text)
        try withInit { initProcess, start in
            let line = try refusal(initProcess, start, state("null"))
            #expect(line.contains("it has no hook that would have called this one"))
        }
    }

    @Test func aChangeAfterTheInitsStartIsAContradiction() throws {
        try withInit { initProcess, start in
            usleep(60_000)
            try folder.write("config.json", Self.text)
            let line = refusal(initProcess, start)
            #expect(line.contains("it was changed after the container's init was started"))
        }
    }

    @Test(arguments: [
        // When the file was changed, on the wall's clock, where the process was started 100 s after boot, now is 110 s
        // after boot and 1,000 s on the wall.
        (989_000, false), (990_000, false), (990_015, false), (990_025, true), (999_000, true), (1_000_000, true),
        // The clock was set back since, or a boot before had another: that proves nothing.
        (1_000_001, false), (9_000_000, false), (-5_000, false),
    ])
    func agesAreCompared(milliseconds: Int, isLater: Bool) {
        let now = LocalTimes(wall: 1_000_000_000_000, sinceBoot: 110_000_000_000, ticksPerSecond: 100)
        let change = timespec(tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
        #expect(now.shows(change, afterStart: 10_000) == isLater)
        #expect(!now.shows(timespec(tv_sec: .max, tv_nsec: 0), afterStart: .max))
    }

    // MARK: - crun

    @Test(arguments: [true, false]) func crunsCopyTells(isSame: Bool) throws {
        let path = "\(folder.path)/crun/web/exec.fifo"
        try folder.write("crun/web/config.json", isSame ? Self.text : Self.text + " ")
        try #require(mkfifo(path, 0o600) == 0)
        let fifo = try Descriptor.open(path, OpenOptions(O_RDONLY | O_NONBLOCK))
        try withInit(passing: [fifo.number]) { initProcess, start in
            guard !isSame else { return try check(initProcess, start) }
            let line = refusal(initProcess, start)
            let why = "crun has used another, as its copy \(folder.path)/crun/web/config.json shows"
            #expect(line == "cannot use \(folder.path)/config.json: \(why) (\(BundleOrigin.hint))")
            // Another FIFO of this name is not what the init holds.
            try #require(unlink(path) == 0 && mkfifo(path, 0o600) == 0)
            try check(initProcess, start)
        }
    }

    /// runc's folder has the FIFO, and no copy.
    @Test func withoutACopyThereIsNoContradiction() throws {
        let path = "\(folder.path)/runc/web/exec.fifo"
        try folder.write("runc/web/x", "")
        try #require(mkfifo(path, 0o600) == 0)
        let fifo = try Descriptor.open(path, OpenOptions(O_RDONLY | O_NONBLOCK))
        try withInit(passing: [fifo.number]) { initProcess, start in try check(initProcess, start) }
    }

    /// `crun run` makes no FIFO: its command line is the init's still.
    @Test func crunsCopyIsFoundForRun() throws {
        try folder.write("crun/web/config.json", "{}")
        let arguments = ["--root", "\(folder.path)/crun", "run", "web"]
        try withInit("/usr/bin/crun", arguments) { initProcess, start in
            let line = refusal(initProcess, start)
            #expect(line.contains("crun has used another"))
            // Whose status is written, is created already: it is another of the same ID.
            try folder.write("crun/web/status", "{}")
            try check(initProcess, start)
        }
        try withInit("/usr/bin/runc", arguments) { initProcess, start in try check(initProcess, start) }
    }

    @Test(arguments: [
        (["crun", "run", "x"], ["/run/crun"]), (["/opt/crun-1.20", "--root=/r", "run", "x"], ["/r"]),
        (["crun", "--debug", "--root", "/r/s", "run", "x"], ["/r/s"]), (["crun", "--roo", "/r", "run", "x"], []),
        (["crun", "--root", "r", "run", "x"], []), (["crun", "create", "x"], []), (["runc", "run", "x"], []), ([], []),
    ])
    func theRootIsReadFromTheCommandLine(arguments: [String], roots: [String]) {
        let line: [UInt8] = arguments.flatMap { Array($0.utf8) + [0] }
        #expect(CrunCopy.roots(inCommandLine: line) == roots)
    }

    @Test(arguments: [
        ("/run/crun/web/exec.fifo", "/run/crun/web"), ("/run/crun/other/exec.fifo", nil), ("/web/exec.fifo", nil),
        ("/run/crun/web/exec.fifo (deleted)", nil), ("/r/webweb/exec.fifo", nil), ("exec.fifo", nil), ("pipe:[7]", nil),
    ])
    func theFIFOLeadsToTheFolder(path: String, folder: String?) {
        #expect(CrunCopy.folder(ofFIFO: path, of: "web") == folder)
    }
}
