import CLinux
import Glibc
import Platform

/// Whether the `config.json` that was read is the one that the container was made from.
///
/// A hook is told the bundle and not the configuration: `crun --config` names another file, and a bundle can be changed
/// after the runtime has read it. Then user, owner maps, annotations and labels would be those of another container. What
/// follows is evidence that a container contradicts its configuration; none is no proof that it does not.
enum BundleOrigin {
    /// What helps against each contradiction.
    static let hint =
        "the bundle's config.json must be what the runtime is given: no --config, and no change meanwhile"

    /// Throws where something contradicts the file.
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

/// The host's two clocks at one moment, to compare a file's time with a process's.
struct LocalTimes: Equatable, Sendable {
    /// Nanoseconds since 1970, which is what file systems count in.
    var wall: Int64
    /// Nanoseconds since boot, which is what processes count in.
    var sinceBoot: Int64
    /// How many of a process's ticks are a second.
    var ticksPerSecond = Int64(sysconf(CInt(_SC_CLK_TCK)))

    static func now() -> LocalTimes {
        func read(_ clock: clockid_t) -> Int64 {
            var time = timespec()
            clock_gettime(clock, &time)
            return nanoseconds(time)
        }
        return LocalTimes(wall: read(CLOCK_REALTIME), sinceBoot: read(CLOCK_BOOTTIME))
    }

    /// A file's time and a process's are counted in steps of up to 10 ms each.
    private static let tolerance: Int64 = 20_000_000

    /// Whether a file was certainly changed after a process was started.
    ///
    /// Ages are compared and not times: where the clock was set since, both may be off, and a file from the future says
    /// nothing.
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

    /// Whether a file system keeps times by this host's clock, and not a server's.
    static func areKept(on magic: Int) -> Bool {
        // ext2 to ext4, tmpfs, XFS, btrfs, overlayfs: linux/magic.h
        [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630].contains(magic)
    }
}
