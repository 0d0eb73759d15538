import Glibc
import Platform

/// The source of the host's hardware random numbers, which a container's TPM must not be.
///
/// The kernel offers each TPM as such a source, a vTPM too (drivers/char/tpm/tpm-chip.c, `tpm_add_hwrng`). On a host
/// without another source, and from Linux 6.11 on also beside one of lower quality, the vTPM becomes the current one.
/// Whoever reads `/dev/hwrng` would then get what a tenant's worker says, and wait for it. No option of a module's or of
/// the kernel's prevents that: `rng_core.default_quality` only sets how many bits each source counts for, the real ones
/// too. So the choice is looked at whenever a vTPM has come or gone. Documentation/admin-guide/hw_random.rst
package struct RandomSource {
    /// The directory of the attributes `rng_current`, `rng_available` and `rng_quality`.
    private let path: String
    private let sysfs: String

    /// Creates it with the mount point of sysfs.
    package init(sysfs: String = "/sys") {
        self.sysfs = sysfs
        path = "\(sysfs)/class/misc/hw_random"
    }

    /// The current source, as the kernel names it; nil if the kernel has no such interface.
    package func current() throws(Failure) -> String? { try read("rng_current") }

    /// Returns N if the current source is the vTPM `tpmN`; nil if it is anything else.
    package func currentVTPM() throws(Failure) -> UInt32? { try current().flatMap(virtualNumber) }

    /// The quality of the current source, in bits of entropy per 1024; nil if there is none, or the kernel is too old.
    package func quality() throws(Failure) -> Int? {
        do {
            return try read("rng_quality").flatMap { Int($0) }
        } catch let error where error.code == ENODEV {
            return nil
        }
    }

    /// The sources that can take a vTPM's place: all but vTPMs.
    ///
    /// The last is `none` if the kernel can do without a source, which it can since Linux 6.19 and some earlier stable
    /// versions.
    package func alternatives() throws(Failure) -> [String] {
        let all = try read("rng_available")?.split(separator: " ").map(String.init) ?? []
        return all.filter { $0 != "none" && virtualNumber($0) == nil } + all.filter { $0 == "none" }
    }

    /// Selects another source if the current one is a vTPM of ours.
    ///
    /// Without an alternative, the vTPM stays the source and counts for nothing.
    ///
    /// - Parameter isOurs: Returns whether `tpmN` is a container's.
    /// - Throws: ``Failure`` if the attributes cannot be read or written.
    package func leave(_ isOurs: (_ number: UInt32) throws(Failure) -> Bool) throws(Failure) {
        guard let number = try currentVTPM(), try isOurs(number) else { return }
        if let other = try alternatives().first {
            try write("rng_current", other)
        } else if let quality = try quality(), quality != 0 {
            try write("rng_quality", "0")
        }
    }

    /// Returns N of the source `tpm-rng-N` if that TPM is a vTPM.
    private func virtualNumber(_ source: String) -> UInt32? {
        let prefix = "tpm-rng-"
        guard source.hasPrefix(prefix), let number = UInt32(source.dropFirst(prefix.count)) else { return nil }
        return access("\(sysfs)/devices/virtual/tpm/tpm\(number)", F_OK) == 0 ? number : nil
    }

    private func read(_ attribute: String) throws(Failure) -> String? {
        let name = "\(path)/\(attribute)"
        do {
            let text = try Descriptor.openFile(name, .read).readAll(limit: 65536, name)
            return String(decoding: text.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        } catch let error where error.code == ENOENT || error.code == ENOTDIR {
            return nil
        }
    }

    private func write(_ attribute: String, _ value: String) throws(Failure) {
        let name = "\(path)/\(attribute)"
        try Descriptor.openFile(name, OpenOptions(O_WRONLY)).writeAll(Array(value.utf8), name)
    }
}
