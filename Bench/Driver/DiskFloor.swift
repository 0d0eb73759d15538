import Glibc
import Platform

/// What the disk takes for a durable write of a state's size, with no TPM at all.
struct DiskFloor {
    /// As large as a state.
    static let content = [UInt8](repeating: 0x5a, count: 1500)

    let directory: String

    func measure(_ count: Int, group: String, to output: Output) throws(Failure) {
        let parent = try Descriptor.open(directory, .directory)
        var values: [Double] = []
        for _ in 0..<count {
            let start = now()
            try Self.replace("floor", in: parent, with: Self.content)
            values.append(microseconds(now() - start))
        }
        output.write(group, "NV_Write", "file alone", unit: "us", values)
    }

    /// Replaces a file, and waits until it is on the disk.
    static func replace(
        _ name: String,
        in parent: borrowing Descriptor,
        with content: [UInt8]
    ) throws(Failure) {
        do {
            let new = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
            let file = try Descriptor.open("\(name).new", new, at: parent.number)
            try file.writeAll(content, name)
            try file.synchronize(name)
        }
        let number = parent.number
        try systemCall("renameat", "cannot write \(name)") { renameat(number, "\(name).new", number, name) }
        try parent.synchronize(name)
    }
}
