import CLinux
import Glibc
import Platform

/// The output of a program of the host, for the programs that `vtpmctl` runs.
public enum ProgramOutput {
    /// Runs a program and returns its standard output, or the first `limit` bytes of it.
    ///
    /// Its standard input is `/dev/null`. `timeout` bounds, in milliseconds, first the output and then the wait for the
    /// exit. Throws a ``Failure`` if either takes longer, or if the exit code is not 0 and there were fewer than
    /// `limit` bytes.
    public static func read(
        _ program: String,
        _ arguments: [String],
        limit: Int,
        timeout: Int
    ) throws(Failure) -> [UInt8] {
        let what = "cannot read what \(program) prints"
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", what) { pipe2(&ends, O_CLOEXEC) }
        let input = Descriptor(owning: ends[0])
        let output = Descriptor(owning: ends[1])
        let name = String(
            decoding: Array(program.utf8.reversed().prefix { $0 != UInt8(ascii: "/") }.reversed()),
            as: UTF8.self
        )
        var launch = ProgramLaunch(program, [name] + arguments)
        launch.standardOutput = output.number
        let child = try launch.start()
        _ = consume output
        let printed: Result<[UInt8], Failure>
        do throws(Failure) {
            printed = .success(try readLimited(input.number, "what \(program) prints", limit: limit, timeout: timeout))
        } catch {
            printed = .failure(error)
            child.kill()
        }
        // With the pipe open, a program that prints more than `limit` bytes would block for ever.
        _ = consume input
        let status = try child.wait(until: Deadline(milliseconds: timeout))
        let content = try printed.get()
        guard status == .exited(0) || content.count == limit else {
            throw Failure(what, because: "it ended with \(status)")
        }
        return content
    }

    /// Reads to the end, but at most `limit` bytes.
    ///
    /// Throws a ``Failure`` if that takes more than `timeout` milliseconds.
    public static func readLimited(
        _ number: CInt,
        _ name: String,
        limit: Int,
        timeout: Int
    ) throws(Failure) -> [UInt8] {
        let deadline = Deadline(milliseconds: timeout)
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while content.count < limit {
            guard try wait(for: number, until: deadline) != 0 else {
                throw Failure("cannot read \(name)", because: "it did not end within \(timeout / 1000) s")
            }
            let size = min(chunk.count, limit - content.count)
            let count = try systemCall("read", "cannot read \(name)") {
                chunk.withUnsafeMutableBytes { Glibc.read(number, $0.baseAddress, size) }
            }
            if count == 0 { break }
            content.append(contentsOf: chunk[..<count])
        }
        return content
    }
}
