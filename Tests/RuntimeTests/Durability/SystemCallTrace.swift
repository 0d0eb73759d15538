import Foundation
import Glibc
import Platform
import Testing

/// What strace(1) saw a process ask of the kernel.
struct SystemCallTrace {
    struct Call {
        var process: String
        var name: String
        /// As strace prints them, each descriptor with its path.
        var arguments: String
        /// The value, and for a new descriptor its path.
        var result: String

        var hasSucceeded: Bool { !result.hasPrefix("-1") && !result.hasPrefix("?") }
    }

    private(set) var calls: [Call] = []

    static let filesAndSockets = "%file,%desc,%network,memfd_create"

    /// A program that is traced from its start to its end, with its children.
    ///
    /// The tracer is no parent of the program (`-D`), so that whoever starts it still is.
    static func launch(
        _ program: [String],
        _ traced: String = filesAndSockets,
        into file: String
    ) -> ProgramLaunch {
        let options = ["strace", "-f", "-D", "-y", "-o", file, "-e", "trace=\(traced)"]
        return ProgramLaunch("/usr/bin/strace", options + program)
    }

    /// Waits until so many processes have ended in a trace, and reads it.
    init(_ file: String, ended count: Int) throws {
        let deadline = Deadline(milliseconds: 60_000)
        var text = ""
        repeat {
            try #require(!deadline.hasPassed, "strace did not see \(count) processes end")
            poll(nil, 0, 10)
            text = try String(contentsOfFile: file, encoding: .utf8)
        } while text.components(separatedBy: "+++ exited with").count - 1 < count
        try self.init(parsing: text)
    }

    init(parsing text: String) throws {
        var unfinished: [String: String] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
            guard parts.count == 2, parts[0].allSatisfy(\.isNumber) else { continue }
            let process = String(parts[0])
            var rest = parts[1].trimmingCharacters(in: .whitespaces)
            if let match = rest.firstMatch(of: /^(.*) <unfinished \.\.\.>$/) {
                unfinished[process] = String(match.1)
                continue
            }
            if let match = rest.firstMatch(of: /^<\.\.\. \w+ resumed>(.*)$/) {
                rest = (unfinished.removeValue(forKey: process) ?? "") + match.1
            }
            guard let match = rest.firstMatch(of: /^(\w+)\((.*)\) += (.*)$/) else { continue }
            calls.append(
                Call(
                    process: process,
                    name: String(match.1),
                    arguments: String(match.2),
                    result: String(match.3)
                )
            )
        }
        try #require(!calls.isEmpty, "strace has written nothing")
    }

    /// What was changed on any file system, by path; and memory files, by their names.
    var changes: [String] { calls.filter(\.hasSucceeded).flatMap(\.changes) }
}

extension SystemCallTrace.Call {
    /// Calls that change the file that their first descriptor, or the one after it, refers to.
    private static let byDescriptor: Set = [
        "write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "fallocate", "fchmod", "fchown", "fsetxattr",
        "fremovexattr", "sendfile", "copy_file_range", "splice",
    ]
    /// Calls that change what has a name, or the name.
    private static let byName: Set = [
        "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat",
        "symlink",
        "symlinkat", "mknod", "mknodat", "truncate", "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat",
        "utime", "utimes", "futimesat", "utimensat", "setxattr", "lsetxattr", "removexattr", "lremovexattr", "bind",
    ]

    /// The paths of what the call changed, where it succeeded.
    var changes: [String] {
        switch name {
        case "creat", "open", "openat", "openat2":
            let isRead = name != "creat" && !arguments.contains(/O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)/)
            return isRead ? [] : [String(result.firstMatch(of: /^\d+<(.*)>$/)?.1 ?? "\(name)(\(arguments))")]
        case "memfd_create":
            return ["memory file \(arguments)"]
        case _ where Self.byDescriptor.contains(name):
            // Sockets and the like are no files: they have no path.
            return arguments.matches(of: /\d+<(\/.*?)>/).map { String($0.1) }
        case _ where Self.byName.contains(name):
            let named = arguments.matches(of: /(?:\w+<(\/[^>]*)>, )?"([^"]*)"/).map { match in
                match.2.hasPrefix("/") ? String(match.2) : "\(match.1 ?? "")/\(match.2)"
            }
            return named.isEmpty ? ["\(name)(\(arguments))"] : named
        default:
            return []
        }
    }
}

/// strace(1) on a process that runs already.
final class AttachedTracer {
    private let child: RunningProgram
    private let reference: ProcessHandle
    private var hasBeenReaped = false

    /// Attaches to a process, and waits until it is traced.
    init(_ process: pid_t, _ options: [String], in temporary: TemporaryDirectory, into file: String) throws {
        let messages = "\(temporary.path)/strace-messages"
        unlink(messages)
        let quoted = options.map { "'\($0)'" }.joined(separator: " ")
        let command = "exec strace -y -o '\(file)' \(quoted) -p \(process) 2>'\(messages)'"
        child = try RunningProgram(ProgramLaunch("/bin/sh", ["sh", "-c", command]))
        reference = try ProcessHandle(child.process)
        let deadline = Deadline(milliseconds: 60_000)
        while true {
            let text = (try? String(contentsOfFile: messages, encoding: .utf8)) ?? ""
            if text.contains("Process \(process) attached") { break }
            try #require(try reference.isAlive() && !deadline.hasPassed, "strace cannot attach: \(text)")
            poll(nil, 0, 5)
        }
    }

    /// Lets the process go on alone.
    func detach() throws {
        kill(child.process, SIGTERM)
        try waitForEnd()
    }

    /// Waits until the process, and with it the tracer, has ended.
    func waitForEnd() throws {
        try #require(try wait(for: reference.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
        hasBeenReaped = true
        _ = try child.wait()
    }

    deinit {
        guard !hasBeenReaped else { return }
        kill(child.process, SIGTERM)
        _ = try? child.wait()
    }
}
