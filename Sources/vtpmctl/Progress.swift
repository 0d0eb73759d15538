import CLinux
import Glibc
import Platform

/// Says on standard error what is being done, once it takes more than a second.
///
/// At a terminal one line is written anew each second, and is gone in the end. Elsewhere a line comes every ten seconds.
/// A timer's signal writes it, so that waits for a lock, a disk or the host's TPM show it too. All waits of ours go on
/// after a signal (``systemCall(_:_:_:)``, ``PollSet``), and children inherit neither the timer nor the handler. A command
/// of the host's TPM does not (``TimerSignal``): the line comes after it.
enum Progress {
    private nonisolated(unsafe) static var state = ProgressState()

    /// Begins to say what is being done.
    static func begin(_ what: String) {
        let now = Array("vtpmctl: \(what)".onOneLine.cut(toBytes: ProgressState.textLimit).utf8)
        setTimer(0)
        TimerSignal.isUsed = true
        state.set(now)
        state.isTerminal = isatty(STDERR_FILENO) == 1
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in Progress.tick() }
        action.sa_flags = SA_RESTART
        sigaction(SIGALRM, &action, nil)
        setTimer(1)
    }

    /// Counts one of the things that are done, of so many if that is known.
    static func step(of total: Int? = nil) {
        state.count += 1
        state.total = total ?? 0
    }

    /// Ends it, and clears its line at a terminal.
    static func end() {
        setTimer(0)
        clear()
    }

    /// Runs `body`, which waits for a person, without saying anything.
    static func pause<Result>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        setTimer(0)
        clear()
        defer { if state.length > 0 { setTimer(1) } }
        return try body()
    }

    /// Clears the line, before something else is written to the terminal.
    static func clear() {
        guard state.isShown else { return }
        state.isShown = false
        let line = Array("\r\u{1b}[K".utf8)
        _ = write(STDERR_FILENO, line, line.count)
    }

    /// The handler of SIGALRM: it allocates nothing, and calls only write(2). signal-safety(7)
    private static func tick() {
        let saved = errno
        state.show(after: state.isTerminal ? 1 : 10)
        errno = saved
    }

    private static func setTimer(_ seconds: Int) {
        var timer = itimerval()
        timer.it_value.tv_sec = seconds
        timer.it_interval.tv_sec = seconds
        setitimer(__itimer_which_t(ITIMER_REAL.rawValue), &timer, nil)
    }
}

/// What is shown, in memory that is there before the signal comes.
private struct ProgressState {
    /// The longest text, in bytes.
    static let textLimit = 200

    private let line = UnsafeMutablePointer<UInt8>.allocate(capacity: 300)
    /// The bytes of the line that are the text; 0 if nothing is being done.
    private(set) var length = 0
    var count = 0
    var total = 0
    private var start = 0
    private var shown = 0
    var isTerminal = false
    var isShown = false

    mutating func set(_ text: [UInt8]) {
        for (index, byte) in text.enumerated() { line[index] = byte }
        (length, count, total) = (text.count, 0, 0)
        start = Self.now
        shown = start
    }

    /// The seconds of a clock that nobody sets, which a handler may read. clock_gettime(2)
    private static var now: Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec
    }

    /// Writes the line if the last one is so many seconds old: the text, how many of how many, and the seconds.
    mutating func show(after pause: Int) {
        let now = Self.now
        guard now - shown >= pause else { return }
        shown = now
        let seconds = now - start
        var end = length
        if count > 0 {
            add(": ", &end)
            add(count, &end)
            if total > 0 {
                add(" of ", &end)
                add(total, &end)
            }
        }
        add(", ", &end)
        add(seconds, &end)
        add(isTerminal ? " s\u{1b}[K\r" : " s\n", &end)
        _ = write(STDERR_FILENO, line, end)
        isShown = isTerminal
    }

    private func add(_ text: StaticString, _ end: inout Int) {
        for index in 0..<text.utf8CodeUnitCount { line[end + index] = text.utf8Start[index] }
        end += text.utf8CodeUnitCount
    }

    private func add(_ number: Int, _ end: inout Int) {
        var divisor = 1
        while number / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            line[end] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number / divisor % 10)
            end += 1
            divisor /= 10
        }
    }
}
