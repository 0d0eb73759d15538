import Glibc
import Platform
import Testing

@testable import Configuration

@Suite struct LoadingTests {
    /// A directory for one test, removed when it is over.
    final class Directory {
        let path: String

        init() throws {
            var template = Array("/tmp/container-vtpm-test.XXXXXX".utf8CString)
            path = try #require(mkdtemp(&template).map { String(cString: $0) })
        }

        deinit { _ = try? ProgramLaunch("/bin/rm", ["rm", "-rf", path]).start().wait() }

        /// Writes a configuration and returns its path.
        func file(_ text: String, mode: mode_t = 0o644) throws -> String {
            let file = "\(path)/config.toml"
            try Descriptor.open(file, OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)).writeAll(
                Array(text.utf8),
                ""
            )
            try #require(chmod(file, mode) == 0)
            return file
        }
    }

    let directory: Directory

    init() throws { directory = try Directory() }

    func refusal(_ path: String, mayBeMissing: Bool = true) throws -> String {
        let error = #expect(throws: Failure.self) { try Configuration.load(path: path, mayBeMissing: mayBeMissing) }
        return try #require(error).description
    }

    @Test func aFileIsRead() throws {
        let path = try directory.file("[state]\nephemeral = false\n")
        #expect(try !Configuration.load(path: path).state.allowsEphemeral)
    }

    @Test func noFileMeansTheDefaults() throws {
        #expect(try Configuration.load(path: "\(directory.path)/config.toml") == Configuration())
        #expect(try Configuration.load(path: "\(directory.path)/none/config.toml") == Configuration())
    }

    @Test func aFileThatMustBeThereIsMissed() throws {
        let text = try refusal("\(directory.path)/config.toml", mayBeMissing: false)
        #expect(text == "cannot open \(directory.path)/config.toml: open: No such file or directory")
    }

    @Test func aLinkToNothingIsNotNoFile() throws {
        let path = "\(directory.path)/config.toml"
        try #require(symlink("/nonexistent/config.toml", path) == 0)
        #expect(try refusal(path) == "cannot open \(path): open: No such file or directory")
    }

    @Test(arguments: [0o664, 0o646, 0o622, 0o666] as [mode_t])
    func othersMustNotBeAbleToChangeIt(mode: mode_t) throws {
        let path = try directory.file("", mode: mode)
        #expect(
            try refusal(path).hasPrefix("cannot read \(path): another user could change it (chown root: \(path) && ")
        )
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give a file away"))
    func itMustBeRoots() throws {
        let path = try directory.file("")
        try #require(chown(path, 65534, 65534) == 0)
        #expect(try refusal(path).contains("another user could change it"))
    }

    /// The file behind a link is what is looked at, not the link.
    @Test func aLinkDoesNotHideWhoCanChangeIt() throws {
        let path = try directory.file("", mode: 0o666)
        try #require(symlink(path, "\(directory.path)/link.toml") == 0)
        #expect(try refusal("\(directory.path)/link.toml").contains("another user could change it"))
    }

    @Test func aPipeIsNotWaitedFor() throws {
        let path = "\(directory.path)/pipe"
        try #require(mkfifo(path, 0o600) == 0)
        #expect(try refusal(path) == "cannot read \(path): it is no regular file")
        #expect(try refusal(directory.path).contains("it is no regular file"))
    }

    @Test func itsSizeIsBounded() throws {
        let comment = "#" + String(repeating: "x", count: (64 << 10) - 1)
        #expect(try Configuration.load(path: directory.file(comment)) == Configuration())
        #expect(try refusal(directory.file(comment + "x")).contains("it is larger than 65536 bytes"))
    }

    @Test func errorsNameFileAndLine() throws {
        let path = try directory.file("[state]\n\nid = 7\n")
        #expect(try refusal(path) == "cannot read \(path): line 3: \"id\" must be a string, not an integer")
    }

    /// `vtpm-runtime` reads no other table: a mistake there must not keep a container from being stopped.
    @Test func theRuntimeIsReadAlone() throws {
        let path = try directory.file("[state]\nid = 7\n[no-such-table]\n[runtime]\npath = \"/usr/bin/crun\"\n")
        #expect(try Configuration.loadRuntime(path: path).path == "/usr/bin/crun")
        #expect(throws: Failure.self) { try Configuration.load(path: path) }
        let whole = try directory.file("[runtime]\npath = \"/usr/bin/crun\"\n")
        #expect(try Configuration.load(path: whole).runtime.path == "/usr/bin/crun")
    }

    @Test func noRuntimeMeansTheFirstOfTheUsualOnes() throws {
        let files = try ["", "[runtime]\n", "[key]\n"].map { try directory.file($0) }
        for file in files + ["\(directory.path)/none"] {
            let runtime = try Configuration.loadRuntime(path: file)
            #expect(runtime.path { _ in true } == "/usr/sbin/runc")
            #expect(runtime.path { $0 != "/usr/sbin/runc" } == "/usr/bin/runc")
            #expect(runtime.path { $0.hasSuffix("/crun") } == "/usr/bin/crun")
            #expect(runtime.path { _ in false } == "/usr/sbin/runc")
        }
        let named = try Configuration.loadRuntime(path: directory.file("[runtime]\npath = \"/opt/crun\"\n"))
        #expect(named.path { _ in true } == "/opt/crun")
    }

    @Test(arguments: [
        "[runtime]\npath = \"runc\"\n", "[runtime]\npath = \"\"\n", "[runtime]\npath = 7\n",
        "[runtime]\nname = \"runc\"\n",
        "[runtime]\npath = \"/usr/bin/crun\"\npath = \"/usr/bin/runc\"\n", "runtime = 7\n",
        "[runtime]\npath = \"/a\\u0000\"\n",
        "[state\n",
    ])
    func aRuntimeThatIsNoneIsRefused(text: String) throws {
        let path = try directory.file(text)
        for load in [{ _ = try Configuration.loadRuntime(path: path) }, { _ = try Configuration.load(path: path) }] {
            let error = #expect(throws: Failure.self) { try load() }
            #expect(error?.description.contains(path) == true)
        }
    }

    /// Whoever could change the file could have any program executed as root.
    @Test func othersMustNotBeAbleToNameTheRuntime() throws {
        let path = try directory.file("[runtime]\npath = \"/usr/bin/crun\"\n", mode: 0o646)
        let error = #expect(throws: Failure.self) { try Configuration.loadRuntime(path: path) }
        #expect(error?.why == "another user could change it")
    }
}
