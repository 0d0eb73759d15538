import Glibc
import Platform

/// What the disk takes for a durable write of a state's size, with no TPM at all.
struct DiskFloor {
    let directory: String

    func measure(_ count: Int, group: String, to output: Output) throws(Failure) {
        let what = "cannot measure the disk"
        let parent = try Descriptor.open(directory, .directory)
        let content = [UInt8](repeating: 0x5a, count: 1500)
        var values: [Double] = []
        for _ in 0..<count {
            let start = now()
            do {
                let new = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
                let file = try Descriptor.open("floor.new", new, at: parent.number)
                try file.writeAll(content, "floor.new")
                try file.synchronize("floor.new")
            }
            try systemCall("rename", what) { renameat(parent.number, "floor.new", parent.number, "floor") }
            try parent.synchronize(directory)
            values.append(microseconds(now() - start))
        }
        output.write(group, "NV_Write", "file alone", unit: "us", values)
    }
}
