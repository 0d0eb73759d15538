import CLinux
import Glibc
import Platform

/// The check whether the container was made from the `config.json` that was read.
///
/// A hook gets the path of the bundle and not the configuration. `crun --config` uses another file, and a bundle can be
/// changed after the runtime has read it. User, ID maps, annotations and labels would then be those of another
/// container. The check finds evidence that a container contradicts its configuration. If it finds none, that is no
/// proof.
enum BundleOrigin {
    /// The hint for every contradiction.
    static let hint =
        "the bundle's config.json must be what the runtime is given: no --config, and no change meanwhile"

    /// Throws if the container contradicts the file.
    static func check(
        _ file: borrowing BundleFile,
        of state: ContainerState,
        _ initProcess: borrowing ProcessHandle,
        startTime: UInt64,
        _ procfs: borrowing Procfs
    ) throws(Failure) {
        let what = "cannot use \(file.path)"
        if let root = state.root?.value, root != file.config.root?.path {
            throw Failure(what, because: "the runtime's root.path is \"\(root.excerpt)\"", hint: hint)
        }
        let hooks = file.config.hooks
        guard hooks?.prestart?.isEmpty == false || hooks?.createRuntime?.isEmpty == false else {
            throw Failure(what, because: "it has no hook that would have called this one", hint: hint)
        }
        if let change = file.lastChange, LocalTimes.now().shows(change, afterStart: startTime) {
            throw Failure(what, because: "it was changed after the container's init was started", hint: hint)
        }
        if let copy = try CrunCopy.find(of: state.id, initProcess, procfs), copy.content != file.content {
            throw Failure(what, because: "crun has used another, as its copy \(copy.path) shows", hint: hint)
        }
    }
}

/// The host's two clocks at one moment, to compare the time of a file with that of a process.
struct LocalTimes: Equatable, Sendable {
    /// CLOCK_REALTIME in nanoseconds since 1970, the clock of file systems.
    var wall: Int64
    /// CLOCK_BOOTTIME in nanoseconds since boot, the clock of process start times. proc_pid_stat(5)
    var sinceBoot: Int64
    /// The ticks of a process start time in one second. sysconf(3), _SC_CLK_TCK
    var ticksPerSecond = Int64(sysconf(CInt(_SC_CLK_TCK)))

    static func now() -> LocalTimes {
        func read(_ clock: clockid_t) -> Int64 {
            var time = timespec()
            clock_gettime(clock, &time)
            return nanoseconds(time)
        }
        return LocalTimes(wall: read(CLOCK_REALTIME), sinceBoot: read(CLOCK_BOOTTIME))
    }

    /// The tolerance in nanoseconds: both times have a resolution of up to 10 ms.
    private static let tolerance: Int64 = 20_000_000

    /// Returns whether a file was certainly changed after a process was started.
    ///
    /// Ages are compared and not times, since both times may be off if the clock was set in between. A file from the
    /// future shows nothing.
    func shows(_ change: timespec, afterStart ticks: UInt64) -> Bool {
        let (fileAge, overflow) = wall.subtractingReportingOverflow(Self.nanoseconds(change))
        let (whole, rest) = Int64(clamping: ticks).quotientAndRemainder(dividingBy: max(ticksPerSecond, 1))
        let (start, isFar) = whole.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow, !isFar, fileAge >= 0 else { return false }
        let processAge = sinceBoot - start - rest * 1_000_000_000 / max(ticksPerSecond, 1)
        return fileAge < processAge - Self.tolerance
    }

    private static func nanoseconds(_ time: timespec) -> Int64 {
        let (seconds, overflow) = Int64(time.tv_sec).multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .min : seconds + Int64(time.tv_nsec)
    }

    /// Returns whether a file system takes its times from this host's clock and not from a server's.
    static func areKept(on magic: Int) -> Bool {
        // ext2 to ext4, tmpfs, XFS, btrfs, overlayfs: linux/magic.h
        [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630].contains(magic)
    }
}
