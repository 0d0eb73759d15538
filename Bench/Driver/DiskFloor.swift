import Glibc
import Platform

/// What a disk takes for a durable change in place, with no TPM at all: one pwrite(2) and one fdatasync(2).
///
/// As in a state's file, two slots are written in turn, in a file that is as long as it will ever be.
struct DiskFloor: ~Copyable {
    private let file: Descriptor
    private let name: String
    private let slot: [UInt8]
    private var count = 0

    /// Makes the file, with slots of so many bytes.
    init(_ name: String, in directory: String, slot size: Int) throws(Failure) {
        let options = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        let file = try Descriptor.open("\(directory)/\(name)", options)
        // Written, and not only allocated: the first write to a block would change the file system's own data as well.
        try file.writeAll([UInt8](repeating: 0, count: 2 * size), name)
        try file.synchronize(name)
        self.file = file
        self.name = name
        slot = [UInt8](repeating: 0x5a, count: size)
    }

    /// Writes one slot, and waits until it is on the disk.
    mutating func write() throws(Failure) {
        let (number, offset) = (file.number, off_t(count % 2 * slot.count))
        count += 1
        let written = try systemCall("pwrite", "cannot write \(name)") { pwrite(number, slot, slot.count, offset) }
        guard written == slot.count else {
            throw Failure("cannot write \(name)", because: "\(written) bytes were written of \(slot.count)")
        }
        try systemCall("fdatasync", "cannot write \(name)") { fdatasync(number) }
    }

    /// Measures so many writes; before each one, and with it, `other` is done.
    mutating func measure(
        _ count: Int,
        group: String,
        as side: String,
        to output: Output,
        after other: () throws(Failure) -> Void = {}
    ) throws(Failure) {
        var values: [Double] = []
        for _ in 0..<count {
            let start = now()
            try other()
            try write()
            values.append(microseconds(now() - start))
        }
        output.write(group, "NV_Write", side, unit: "us", values)
    }
}
