import CLinux
import Glibc

/// The system log: syslog(3), which systemd's journal takes in as well.
public enum Log {
    /// Sets the program's name, which lines carry; to be called once, at the start of a program.
    public static func open(_ program: StaticString) {
        // openlog keeps the pointer; a StaticString's lives as long as the program.
        program.utf8Start.withMemoryRebound(to: CChar.self, capacity: program.utf8CodeUnitCount + 1) {
            openlog($0, LOG_PID | LOG_NDELAY, LOG_DAEMON)
        }
    }

    /// One event of a vTPM's life.
    public static func notice(_ text: String) {
        clinux_syslog(LOG_NOTICE, text.onOneLine)
    }

    /// Something that an operator has to look at.
    public static func error(_ text: String) {
        clinux_syslog(LOG_ERR, text.onOneLine)
    }
}
