import CLinux
import Glibc

/// The standard error of a program whose starter may not read it.
public enum StandardError {
    /// How long to wait for a full pipe, in milliseconds.
    private static let timeout = 1000

    /// Writes one line; does nothing if nobody reads it in time.
    ///
    /// A pipe that is ready takes PIPE_BUF bytes at once (pipe(7)). The line is in the log as well.
    public static func write(_ line: String) {
        let bytes = Array((line.cut(toBytes: Int(PIPE_BUF) - 1) + "\n").utf8)
        guard let events = try? wait(for: STDERR_FILENO, CInt(POLLOUT), until: Deadline(milliseconds: timeout)),
            events & CInt(POLLOUT) != 0
        else { return }
        _ = Glibc.write(STDERR_FILENO, bytes, bytes.count)
    }
}
