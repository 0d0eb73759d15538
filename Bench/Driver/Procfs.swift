import Glibc
import Platform

/// What procfs tells of processes. proc(5)
enum Procfs {
    /// Memory in KiB, and descriptors, of some processes together.
    struct Usage {
        var proportional = 0
        var resident = 0
        var anonymous = 0
        var pageTables = 0
        var descriptors = 0
    }

    static func usage(of processes: [pid_t]) throws(Failure) -> Usage {
        var usage = Usage()
        for process in processes {
            let rollup = try fields(of: "/proc/\(process)/smaps_rollup")
            let status = try fields(of: "/proc/\(process)/status")
            usage.proportional += rollup["Pss"] ?? 0
            usage.resident += rollup["Rss"] ?? 0
            usage.anonymous += rollup["Anonymous"] ?? 0
            usage.pageTables += status["VmPTE"] ?? 0
            let directory = try Descriptor.open("/proc/\(process)/fd", .directory)
            usage.descriptors += try entries(of: directory, "/proc/\(process)/fd").count
        }
        return usage
    }

    /// Nanoseconds on a processor so far. Documentation/scheduler/sched-stats.rst
    static func processorTime(of processes: [pid_t]) throws(Failure) -> UInt64 {
        var sum: UInt64 = 0
        for process in processes {
            guard let time = try text("/proc/\(process)/schedstat").split(separator: " ").first.flatMap({ UInt64($0) })
            else { throw Failure("cannot read /proc/\(process)/schedstat", because: "it has no time") }
            sum += time
        }
        return sum
    }

    /// Bytes that a process has written to files so far. proc_pid_io(5), wchar
    static func written(by process: pid_t) throws(Failure) -> Int {
        guard let count = try fields(of: "/proc/\(process)/io")["wchar"] else {
            throw Failure("cannot read /proc/\(process)/io", because: "it has no wchar")
        }
        return count
    }

    private static func fields(of path: String) throws(Failure) -> [String: Int] {
        var fields: [String: Int] = [:]
        for line in try text(path).split(separator: "\n") {
            let parts = line.split { $0 == ":" || $0 == " " || $0 == "\t" }
            if parts.count > 1 { fields[String(parts[0])] = Int(parts[1]) }
        }
        return fields
    }

    private static func text(_ path: String) throws(Failure) -> String {
        String(decoding: try Descriptor.open(path, .read).readAll(limit: 1 << 20, path), as: UTF8.self)
    }
}
