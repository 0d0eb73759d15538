import Platform

/// A store of swtpm's `file://` backend, a file or a block device: several files of a directory in one.
///
///     magic      8 bytes  "swtpmlin" as a number
///     version    8 bits   1
///     padding    8 bits
///     header     16 bits  size of the header, 192
///     files      15 times: offset, length and length of the section, 32 bits each; the offset is 0 where there is none
///
/// Integers are little-endian. The first file is what a directory has as `tpm2-00.permall`. A TPM 1.2 looks the same.
/// swtpm: src/swtpm/swtpm_nvstore_linear.h
enum SWTPMStore {
    private static let magic = Array("nilmptws".utf8)
    private static let version: UInt8 = 1
    private static let headerSize = 12 + 15 * 12

    /// Whether a file is one.
    static func isStore(_ file: UnsafeRawBufferPointer) -> Bool { file.starts(with: magic) }

    /// Where in it the permanent state lies; `what` is for errors.
    static func permanentState(in file: UnsafeRawBufferPointer, _ what: String) throws(Failure) -> Range<Int> {
        // The magic number, version, padding, header's size; then the first file's offset and length.
        guard file.count >= headerSize, let size = file.bigEndian(at: 10, as: UInt16.self)?.byteSwapped,
            let offset = file.bigEndian(at: 12, as: UInt32.self)?.byteSwapped,
            let count = file.bigEndian(at: 16, as: UInt32.self)?.byteSwapped
        else { throw Failure(what, because: "it is truncated") }
        guard file[8] <= version else {
            throw Failure(what, because: "it has swtpm's store format \(file[8]), and only \(version) is known")
        }
        let (start, length) = (Int(offset), Int(count))
        guard start != 0 else { throw Failure(what, because: "it is a store of swtpm's without a TPM's state in it") }
        guard size == headerSize, start >= headerSize else { throw Failure(what, because: "its header is damaged") }
        guard start <= file.count, length <= file.count - start else { throw Failure(what, because: "it is truncated") }
        return start..<start + length
    }
}
