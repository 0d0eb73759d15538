import Glibc

/// The file `cgroup.events` of a cgroup of version 2. Documentation/admin-guide/cgroup-v2.rst, "(Un)populated
/// Notification"
public enum CgroupEvents {
    /// The file's name in the cgroup's directory.
    public static let name = "cgroup.events"

    /// Returns whether a process is in the cgroup or in one below it; false also if the cgroup was removed.
    ///
    /// A process that is not reaped yet does not count. It has closed its files by then: kernel/exit.c, `do_exit`.
    ///
    /// The file becomes ready for POLLPRI when its content differs from what was read last, by any process that has the
    /// same open file. So it is read with one call: what a second one read would be reported to nobody.
    public static func isPopulated(_ file: borrowing Descriptor) throws(Failure) -> Bool {
        let number = file.number
        var content = [UInt8](repeating: 0, count: 4096)
        let count: Int
        do {
            count = try systemCall("pread", "cannot read \(name)") {
                content.withUnsafeMutableBytes { pread(number, $0.baseAddress, $0.count, 0) }
            }
        } catch let error where error.code == ENODEV {
            return false
        }
        guard let isPopulated = isPopulated(content[..<count]) else { throw .malformed(content[..<count], in: name) }
        return isPopulated
    }

    /// Parses the content, one `name value` in each line; returns nil if it does not say.
    static func isPopulated(_ content: ArraySlice<UInt8>) -> Bool? {
        for line in content.split(separator: UInt8(ascii: "\n")) {
            if line.elementsEqual("populated 1".utf8) { return true }
            if line.elementsEqual("populated 0".utf8) { return false }
        }
        return nil
    }
}
