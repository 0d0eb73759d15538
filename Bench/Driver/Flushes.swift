import CLinux
import Glibc
import Platform

/// How often a disk has to flush: the system calls that ask for it, by strace(1), and what the block device was told.
///
/// The root of the index is flushed once for all that change the index at the same time, and so is a side of its own.
struct Flushes {
    /// On an ext4 that nothing else writes to.
    let place: Place

    private static let writes = 10
    private static let calls = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"

    func count() throws(Failure) {
        for side in [Side.ours, .before] {
            // The first state of a host also makes the index.
            let initProcess = try FakeInit()
            try side.start("other", in: place, for: initProcess).stop()
            for state in ["new", "existing"] { try count(side, state) }
        }
    }

    private func count(_ side: Side, _ state: String) throws(Failure) {
        let file = "\(place.directory)/\(side.rawValue).\(state).trace"
        // So that it is there from the beginning.
        _ = try Descriptor.open(file, OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600))
        var last = try Counts(file, device: place.directory)
        func take(_ name: String, of number: Int = 1) throws(Failure) {
            let now = try Counts(file, device: place.directory)
            now.write("\(name), \(state) state", side, since: last, of: number)
            last = now
        }
        let initProcess = try FakeInit()
        let tracer = [
            "/usr/bin/strace", "-f", "-qq", "-y", "-e", "trace=\(Self.calls)", "-e", "signal=none", "-o", file,
        ]
        let tpm =
            side == .before
            ? try OurTPM(before: "web", in: place.before, for: initProcess, tracer: tracer)
            : try OurTPM("web", in: place, for: initProcess, tracer: tracer)
        try tpm.device.run(Commands.getRandom)
        try take("start")
        try tpm.device.completeSelfTest()
        if state == "new" { try tpm.device.run(Commands.nvDefine) }
        try tpm.device.run(Commands.nvWrite(now()))
        last = try Counts(file, device: place.directory)
        for _ in 0..<Self.writes { try tpm.device.run(Commands.nvWrite(now())) }
        try take("NV_Write", of: Self.writes)
        try tpm.stop()
        try take("stop")
    }
}

/// What was counted up to a moment.
private struct Counts {
    var calls = 0
    var root = 0
    var device = 0

    /// Reads what strace(1) has written into a file, and what the device of a directory has counted.
    init(_ trace: String, device directory: String) throws(Failure) {
        for line in String(decoding: try Self.read(trace), as: UTF8.self).split(separator: "\n") {
            // A second line of the same call has no argument.
            guard let name = line.split(separator: " ").dropFirst().first, name.contains("sync") else { continue }
            if Self.isRoot(line) { root += 1 } else { calls += 1 }
        }
        var status = stat()
        try systemCall("stat", "cannot find the device of \(directory)") { stat(directory, &status) }
        let path = "/sys/dev/block/\(clinux_major(status.st_dev)):\(clinux_minor(status.st_dev))/stat"
        let fields = String(decoding: try Self.read(path), as: UTF8.self).split { $0 == " " || $0 == "\n" }
        // Documentation/block/stat.rst, "flush I/Os"
        guard fields.count > 15, let count = Int(fields[15]) else {
            throw Failure("cannot count flushes", because: "\(path) has none")
        }
        device = count
    }

    /// Whether a call is about the index's file or the directory that names it.
    private static func isRoot(_ line: Substring) -> Bool {
        ["/index>", "/index.new>"].contains { line.contains($0) }
    }

    private static func read(_ path: String) throws(Failure) -> [UInt8] {
        try Descriptor.open(path, .read).readAll(limit: 1 << 20, path)
    }

    /// Writes what has come to it since another one, for each of so many.
    func write(_ name: String, _ side: Side, since other: Counts, of number: Int) {
        let isOurs = side == .ours
        let values = [
            (side.rawValue, calls - other.calls),
            (isOurs ? "the index's root" : "\(side.rawValue), the index's root", root - other.root),
            (isOurs ? "ext4's device" : "\(side.rawValue), ext4's device", device - other.device),
        ]
        for (column, count) in values {
            Output(round: 0).write("flushes", name, column, unit: "", [Double(count) / Double(number)])
        }
    }
}
