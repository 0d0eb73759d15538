import CLinux
import FoundationEssentials
import Glibc
import Platform

/// All checks of a host, run in another process.
///
/// A check can hang: a TPM does not answer, a file server is gone, a program of the operator's waits. It is then given
/// up alone, and a new process goes on with the next check.
public struct Examination {
    /// How long one check may take, in milliseconds.
    public static let timeout = 20_000

    private let checks: [Check]
    private let timeout: Int
    private let launch: (_ first: Check) -> ProgramLaunch

    /// Creates an examination.
    ///
    /// `launch` returns the start of a program that calls ``serve(from:on:write:)`` with this check's name.
    public init(
        _ checks: [Check] = Check.all,
        timeout: Int = timeout,
        launch: @escaping (_ first: Check) -> ProgramLaunch
    ) {
        self.checks = checks
        self.timeout = timeout
        self.launch = launch
    }

    /// Runs all checks; calls `body` with each report as it comes.
    public func run(_ body: (Report) throws(Failure) -> Void) throws(Failure) {
        var rest = checks[...]
        while let first = rest.first {
            let process: CheckProcess
            do {
                process = try CheckProcess(launch(first))
            } catch {
                try body(Report(of: first, unfinishedBecause: "\(error)"))
                rest = rest.dropFirst()
                continue
            }
            defer { process.end() }
            while let check = rest.first {
                rest = rest.dropFirst()
                do throws(Failure) {
                    let report = try process.report(until: Deadline(milliseconds: timeout))
                    guard report.id == check.id else {
                        throw Failure(CheckProcess.what, because: "another answered in its place")
                    }
                    try body(report)
                } catch let error where error.what == CheckProcess.what {
                    try body(Report(of: check, unfinishedBecause: error.why))
                    break
                }
            }
        }
    }

    /// Runs the checks from this one on; calls `write` with the line of each report.
    public static func serve(
        from id: String,
        on host: Host,
        write: (_ line: String) throws(Failure) -> Void
    ) throws(Failure) {
        for check in Check.all.drop(while: { $0.id != id }) {
            let line: Data
            do {
                line = try JSONEncoder().encode(check.run(on: host))
            } catch {
                throw Failure("cannot write the report about \(check.id)", because: "\(error)")
            }
            try write(String(decoding: line, as: UTF8.self))
        }
    }
}

/// A process that runs checks, and prints the report of each on a line of its own.
private final class CheckProcess {
    static let what = "cannot check"
    /// The longest line that is read, in bytes.
    private static let lineLimit = 1 << 20

    private let output: Descriptor
    private var child: ChildProcess?
    /// What was read after the last line.
    private var rest: [UInt8] = []

    init(_ launch: ProgramLaunch) throws(Failure) {
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", Self.what) { pipe2(&ends, O_CLOEXEC) }
        output = Descriptor(owning: ends[0])
        let far = Descriptor(owning: ends[1])
        var launch = launch
        launch.standardOutput = far.number
        child = try launch.start()
    }

    /// Kills it, unless it has ended.
    func end() {
        switch child.take() {
        case .none: break
        case .some(let child): _ = try? child.end()
        }
    }

    /// Reads the next report.
    func report(until deadline: Deadline) throws(Failure) -> Report {
        let line = try line(until: deadline)
        do {
            return try JSONDecoder().decode(Report.self, from: Data(line))
        } catch {
            throw Failure(Self.what, because: "its report makes no sense")
        }
    }

    private func line(until deadline: Deadline) throws(Failure) -> [UInt8] {
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            if let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                defer { rest.removeSubrange(...end) }
                return Array(rest[..<end])
            }
            guard rest.count < Self.lineLimit else { throw Failure(Self.what, because: "its report does not end") }
            guard try wait(for: output.number, until: deadline) != 0 else {
                throw Failure(Self.what, because: "it took too long, and was given up")
            }
            let number = output.number
            let count = try systemCall("read", Self.what) {
                chunk.withUnsafeMutableBytes { read(number, $0.baseAddress, $0.count) }
            }
            guard count > 0 else { throw Failure(Self.what, because: "its process \(try status())") }
            rest += chunk[..<count]
        }
    }

    /// Returns how the process ended, which it is about to do.
    private func status() throws(Failure) -> String {
        switch child.take() {
        case .none: "is gone"
        case .some(let child): "ended with \(try child.wait(until: Deadline(milliseconds: 1000)))"
        }
    }
}
