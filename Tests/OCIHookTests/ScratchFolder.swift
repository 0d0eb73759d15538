import Glibc
import Platform

/// A folder that is removed in the end, with files in it.
final class ScratchFolder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/vtpm-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("cannot make a directory", call: "mkdtemp", code: errno) }
        path = String(decoding: template.dropLast().map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    }

    deinit {
        if let child = try? ProgramLaunch("/bin/rm", ["rm", "-rf", path]).start() { _ = try? child.wait() }
    }

    func write(_ name: String, _ text: String) throws {
        var folder = path
        for part in name.split(separator: "/").dropLast() {
            folder += "/\(part)"
            mkdir(folder, 0o700)
        }
        try Descriptor.open("\(path)/\(name)", OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600))
            .writeAll(Array(text.utf8), name)
    }
}
