import Foundation
import Glibc
import Platform
import Testing

/// A folder with the programs of one test, removed with everything in it.
final class WrapperFolder {
    let path: String

    init() throws {
        // Nobody else may be able to write on the way to the runtime, as everybody can below /tmp.
        var template = Array("\(NSHomeDirectory())/.container-vtpm-test.XXXXXX".utf8CString)
        path = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String, mode: mode_t = 0o600) throws {
        let file = try Descriptor.open("\(path)/\(name)", OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: mode))
        try file.writeAll(Array(text.utf8), name)
    }

    func read(_ name: String) throws -> String {
        String(decoding: try Descriptor.open("\(path)/\(name)", .read).readAll(limit: 1 << 20, name), as: UTF8.self)
    }

    func exists(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }

    /// Copies the stand-in for our programs, or another program, which lies beside the tests: a program finds the others
    /// beside itself.
    func install(_ names: [String], of program: String = "WrapperProgram") throws {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let path = URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent(program).path
        for name in names { try copy(path, to: name) }
    }

    /// Makes a program that can be executed at once.
    ///
    /// What this process itself has written is busy as long as a child of another test has the descriptor too. execve(2),
    /// ETXTBSY
    func copy(_ program: String, to name: String) throws {
        let words = ["cp", "-p", program, "\(path)/\(name)"]
        try #require(try ProgramLaunch("/bin/cp", words).start().wait() == .exited(0))
    }
}
