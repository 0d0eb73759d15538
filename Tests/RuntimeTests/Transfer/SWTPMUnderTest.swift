import CLinux
import Foundation
import Glibc
import Platform
import Testing

/// A real swtpm with a state directory of its own, connected by a socket in place of a network.
final class SWTPMUnderTest {
    let temporary: TemporaryDirectory
    private let process: RunningProgram
    private var device: CInt
    private var hasBeenReaped = false

    /// Starts it on a directory in the temporary one, which is made where it is missing.
    ///
    /// `key` is what follows its option `--key`, and `store` what follows `--tpmstate`, where that is not the directory.
    init(_ directory: String, in temporary: TemporaryDirectory, key: String? = nil, store: String? = nil) throws {
        let program = "/usr/bin/swtpm"
        guard access(program, X_OK) == 0 else {
            throw Failure("cannot run \(program)", because: "it is not installed", hint: "make dependencies")
        }
        self.temporary = temporary
        _ = try temporary.directory(directory)
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
        defer { close(ends[1]) }
        device = ends[0]
        var arguments = ["swtpm", "socket", "--tpm2", "--fd", "3", "--flags", "not-need-init,startup-clear"]
        arguments += ["--tpmstate", store ?? "dir=\(temporary.path)/\(directory)"]
        arguments += ["--log", "file=\(temporary.path)/\(directory).log"]
        if let key { arguments += ["--key", key] }
        var launch = ProgramLaunch(program, arguments)
        launch.passed = [ends[1]]
        process = try RunningProgram(launch)
    }

    deinit {
        if device >= 0 { close(device) }
        if !hasBeenReaped {
            process.kill()
            _ = try? process.wait()
        }
    }

    /// The fingerprint of the endorsement key, made as `VTPMUnderTest` makes it.
    func endorsementKey() throws -> String {
        try run("tpm2_createek -Q -c ek.ctx -G ecc -u ek.pub; tpm2_flushcontext -Q -t; sha256sum <ek.pub")
    }

    /// Runs tpm2-tools against it, by the shell; they must succeed.
    @discardableResult
    func run(_ command: String) throws -> String {
        let bridge = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Fixtures/tpm-bridge").standardizedFileURL.path
        var launch = ProgramLaunch(
            "/bin/sh",
            ["sh", "-ec", "cd '\(temporary.path)' && (\(command)) >output 2>&1"],
            environment: ProgramLaunch.plainEnvironment + ["TPM2TOOLS_TCTI=cmd:\(bridge)"]
        )
        launch.passed = [device]
        let status = try launch.start().wait()
        let output = String(decoding: try temporary.read("output"), as: UTF8.self)
        try #require(status == .exited(0), "\(command): \(output)")
        return output
    }

    /// Hangs up, on which it ends.
    func stop() throws {
        close(device)
        device = -1
        hasBeenReaped = true
        try #require(try process.wait() == .exited(0))
    }

    /// The name of its state in its directory.
    static let fileName = "tpm2-00.permall"
}
