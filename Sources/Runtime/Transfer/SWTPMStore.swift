import Platform

/// A store of swtpm's `file://` backend: a file or a block device that contains several state files.
///
///     magic      8 bytes  "swtpmlin" as a number
///     version    8 bits   1
///     padding    8 bits
///     header     16 bits  size of the header, 192
///     files      15 times: offset, length and length of the section, 32 bits each; the offset is 0 if there is no file
///
/// Integers are little-endian. The first file is the one that a directory has as `tpm2-00.permall`. The store of a
/// TPM 1.2 has the same header. swtpm: src/swtpm/swtpm_nvstore_linear.h
enum SWTPMStore {
    private static let magic = Array("nilmptws".utf8)
    private static let version: UInt8 = 1
    private static let headerSize = 12 + 15 * 12

    /// Returns whether a file starts with the magic number of a store.
    static func isStore(_ file: UnsafeRawBufferPointer) -> Bool { file.starts(with: magic) }

    /// Returns the range of the permanent state in a store; `what` starts the errors.
    static func permanentState(in file: UnsafeRawBufferPointer, _ what: String) throws(Failure) -> Range<Int> {
        // The header's size, then the offset and the length of the first file. The fields are little-endian.
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
