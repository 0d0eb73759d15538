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
        let child = try start(program, arguments, writingTo: Descriptor(owning: ends[1]))
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

    /// Runs a program that prints lines for as long as it lives, and calls `body` with each line.
    ///
    /// It ends, and the program with it, when nobody reads from `output` any more. A line that is longer than `limit`
    /// bytes is left out.
    ///
    /// - Throws: ``Failure`` if the program ends by itself, or if `body` throws.
    public static func follow(
        _ program: String,
        _ arguments: [String],
        limit: Int,
        whileReadFrom output: CInt,
        _ body: ([UInt8]) throws(Failure) -> Void
    ) throws(Failure) {
        let what = "cannot read what \(program) prints"
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", what) { pipe2(&ends, O_CLOEXEC) }
        let input = Descriptor(owning: ends[0])
        let child = try start(program, arguments, writingTo: Descriptor(owning: ends[1]))
        let result: Result<Void, Failure>
        do throws(Failure) {
            result = .success(try readLines(input.number, what, limit: limit, whileReadFrom: output, body))
        } catch {
            result = .failure(error)
        }
        _ = try child.end()
        try result.get()
    }

    private static func readLines(
        _ number: CInt,
        _ what: String,
        limit: Int,
        whileReadFrom output: CInt,
        _ body: ([UInt8]) throws(Failure) -> Void
    ) throws(Failure) {
        var line: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            var set = PollSet()
            let index = set.add(number)
            let reader = set.add(output, 0)
            try set.wait()
            if set.isReady(reader) { return }
            guard set.isReady(index) else { continue }
            let count = try systemCall("read", what) {
                chunk.withUnsafeMutableBytes { Glibc.read(number, $0.baseAddress, $0.count) }
            }
            guard count > 0 else { throw Failure(what, because: "it has ended") }
            for byte in chunk[..<count] {
                if byte != UInt8(ascii: "\n") {
                    if line.count <= limit { line.append(byte) }
                    continue
                }
                if line.count <= limit { try body(line) }
                line.removeAll(keepingCapacity: true)
            }
        }
    }

    /// Starts a program whose standard output is this end of a pipe.
    private static func start(
        _ program: String,
        _ arguments: [String],
        writingTo output: consuming Descriptor
    ) throws(Failure) -> ChildProcess {
        let name = String(
            decoding: Array(program.utf8.reversed().prefix { $0 != UInt8(ascii: "/") }.reversed()),
            as: UTF8.self
        )
        var launch = ProgramLaunch(program, [name] + arguments)
        launch.standardOutput = output.number
        return try launch.start()
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
