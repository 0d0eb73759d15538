import Glibc
import Platform
import Testing

/// What a process has of the host at one moment. proc(5)
struct ProcessUsage: CustomStringConvertible {
    /// Memory that is its own and not a file's, in KiB: RssAnon of `/proc/PID/status`.
    ///
    /// Pages of files come and go with what runs, and are the page cache's.
    let memory: Int
    let descriptors: Int
    let threads: Int

    init(of process: pid_t) throws {
        let path = "/proc/\(process)/status"
        let text = String(decoding: try Descriptor.open(path, .read).readAll(limit: 1 << 16, path), as: UTF8.self)
        func field(_ name: String) throws -> Int {
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("\(name):") })
            return try #require(Int(line.split(whereSeparator: { " \t".contains($0) })[1]))
        }
        memory = try field("RssAnon")
        threads = try field("Threads")
        descriptors = try entries(of: Descriptor.open("/proc/\(process)/fd", .directory), path).count
    }

    var description: String { "\(memory) KiB, \(descriptors) descriptors, \(threads) threads" }
}
