import CLinux
import Glibc

/// Standard error of a program that somebody else's program has started, and may not read from.
public enum StandardError {
    /// How long a full pipe is waited for, in milliseconds.
    private static let timeout = 1000

    /// Writes one line, and does nothing if nobody takes it.
    ///
    /// A pipe that is ready takes PIPE_BUF bytes at once. pipe(7) The log has the line as well.
    public static func write(_ line: String) {
        let bytes = Array((line.cut(toBytes: Int(PIPE_BUF) - 1) + "\n").utf8)
        guard let events = try? wait(for: STDERR_FILENO, CInt(POLLOUT), until: Deadline(milliseconds: timeout)),
            events & CInt(POLLOUT) != 0
        else { return }
        _ = Glibc.write(STDERR_FILENO, bytes, bytes.count)
    }
}
