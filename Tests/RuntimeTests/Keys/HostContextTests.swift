import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import Testing

/// What the hook and `vtpmctl` open must be what a supervisor, which has no CAP_DAC_OVERRIDE, can use as well.
@Suite struct HostContextTests {
    let temporary: TemporaryDirectory

    init() throws { temporary = try TemporaryDirectory() }

    private func open() throws(Failure) {
        var configuration = Configuration()
        configuration.key = .file(path: "\(temporary.path)/keys/master.key")
        let hostPaths = HostPaths(below: temporary.path, programs: "/")
        _ = try HostContext(hostPaths, configuration, credentialsDirectory: nil)
    }

    private func refusal() -> String {
        let error = #expect(throws: Failure.self) { try open() }
        return error?.description ?? ""
    }

    @Test(arguments: ["states", "index"])
    func aDirectoryThatKeepsRootOutIsNamed(name: String) throws {
        try open()
        let path = "\(temporary.path)/\(name)"
        try #require(chmod(path, 0o500) == 0)
        #expect(
            refusal() == "cannot use \(path): it has the mode 0500, without all of 0700 (chown root: \(path) "
                + "&& chmod 0700 \(path))"
        )
        try #require(chmod(path, 0o755) == 0)
        try open()
    }

    @Test(.enabled(if: geteuid() == 0, "needs root"), arguments: ["index", "lock"])
    func aFileOfTheIndexOfAnotherUserIsNamed(name: String) throws {
        try open()
        let path = "\(temporary.path)/index/\(name)"
        try temporary.write("index/\(name)", [])
        try #require(chown(path, 1000, gid_t.max) == 0)
        #expect(
            refusal() == "cannot use \(path): it belongs to user 1000 (chown root: \(path) && chmod 0600 \(path))"
        )
    }
}
