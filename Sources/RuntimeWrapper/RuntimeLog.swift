import Glibc
import JSONText
import Platform

/// The file in which an engine looks for a runtime's last error, as runc and crun write it.
enum RuntimeLog {
    /// Appends the error; if the file cannot be written, standard error has it alone.
    ///
    /// Call it only if the runtime is not executed: from then on SIGXFSZ does not end this process, so that standard error
    /// has the reason also where RLIMIT_FSIZE leaves no room. setrlimit(2)
    static func write(_ failure: Failure, to invocation: Invocation) {
        guard let path = invocation.log else { return }
        signal(SIGXFSZ, SIG_IGN)
        let options = OpenOptions(O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, mode: 0o644)
        guard let file = try? Descriptor.openFile(path, options) else { return }
        try? file.writeAll(Array(line(failure, isJSON: invocation.logsJSON).utf8), path)
    }

    /// Returns the line, with a line feed.
    static func line(_ failure: Failure, isJSON: Bool) -> String {
        guard isJSON else { return "vtpm-runtime: \(failure)\n" }
        let message = JSONText.quoted("vtpm-runtime: \(failure)")
        let now = Timestamp.utc(UInt64(max(time(nil), 0)), "%Y-%m-%dT%H:%M:%SZ")
        return "{\"level\":\"error\",\"msg\":\(message),\"time\":\"\(now)\"}\n"
    }
}
