import Glibc
import Platform
import Testing

/// A directory for one test, removed with everything in it when the test is over.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/container-vtpm-test.XXXXXX".utf8CString)
        path = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    deinit {
        _ = try? ProgramLaunch("/bin/rm", ["rm", "-rf", path]).start().wait()
    }

    /// Makes a directory in it, and opens it.
    func directory(_ name: String) throws -> Descriptor {
        try openOwnDirectory("\(path)/\(name)")
    }

    func read(_ name: String) throws -> [UInt8] {
        try Descriptor.openFile("\(path)/\(name)", .read).readAll(limit: 1 << 24, name)
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        let options = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try Descriptor.open("\(path)/\(name)", options).writeAll(bytes, name)
    }

    func exists(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }
}
