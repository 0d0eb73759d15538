import Glibc
import Platform

/// All operations on a disk that keep a state, an index or a key.
///
/// A power failure can cut a sequence of them short at any point. The tests replace it with a recorder.
public protocol Disk: AnyObject {
    /// Creates an empty file for writing with mode 0600; an existing file of that name is truncated. open(2)
    func create(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) -> Descriptor
    /// Writes to a file at its current offset. write(2)
    func write(
        _ bytes: UnsafeRawBufferPointer,
        to file: borrowing Descriptor,
        as path: String
    ) throws(Failure)
    /// Writes to a file at an offset in bytes. pwrite(2)
    func write(
        _ bytes: [UInt8],
        to file: borrowing Descriptor,
        at offset: Int,
        as path: String
    ) throws(Failure)
    /// Waits until a file's data is on stable storage. fdatasync(2)
    func synchronizeData(_ file: borrowing Descriptor, as path: String) throws(Failure)
    /// Waits until a file's content, or a directory's entries, are on stable storage. fsync(2)
    func synchronize(_ file: borrowing Descriptor, as path: String) throws(Failure)
    /// Renames a file or directory; an existing file of the new name is replaced. renameat(2)
    func rename(
        _ name: String,
        in source: borrowing Descriptor,
        to newName: String,
        in target: borrowing Descriptor,
        as path: String
    ) throws(Failure)
    /// Gives a file a second name, which must be free. linkat(2)
    func link(
        _ name: String,
        in directory: borrowing Descriptor,
        as newName: String,
        path: String
    ) throws(Failure)
    /// Creates a directory with mode 0700. mkdirat(2)
    func makeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure)
    /// Removes a file; does nothing if it does not exist. unlinkat(2)
    func removeFile(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure)
    /// Removes an empty directory; does nothing if it does not exist. unlinkat(2), AT_REMOVEDIR
    func removeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure)
}

extension Disk {
    /// Replaces a file; a crash at any moment leaves either the old file or the new one, whole.
    ///
    /// When it returns, the new file is on stable storage. After an error the old file is on disk. If only the last
    /// sync failed, it is either of the two. Returns the new file, open for writing.
    @discardableResult
    package func replace(
        _ name: String,
        in directory: borrowing Descriptor,
        with content: [UInt8],
        as path: String
    ) throws(Failure) -> Descriptor {
        let temporary = "\(name).new"
        do {
            let file = try create(temporary, in: directory, as: path)
            try fill(file, with: content, as: path)
            try rename(temporary, in: directory, to: name, in: directory, as: path)
            try synchronize(directory, as: path)
            return file
        } catch {
            // After the rename it does nothing.
            try? removeFile(temporary, in: directory, as: path)
            throw error
        }
    }

    private func fill(
        _ file: borrowing Descriptor,
        with content: [UInt8],
        as path: String
    ) throws(Failure) {
        let written: Result<Void, Failure> = content.withUnsafeBytes { bytes in
            do throws(Failure) {
                return .success(try write(bytes, to: file, as: path))
            } catch {
                return .failure(error)
            }
        }
        try written.get()
        try synchronize(file, as: path)
    }
}

/// The host's own disk.
public final class LocalDisk: Disk {
    /// Creates the disk of this host.
    public init() {}

    public func create(
        _ name: String,
        in directory: borrowing Descriptor,
        as path: String
    ) throws(Failure) -> Descriptor {
        let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        return try .openFile(name, options, at: directory.number, as: path)
    }

    public func write(
        _ bytes: UnsafeRawBufferPointer,
        to file: borrowing Descriptor,
        as path: String
    ) throws(Failure) {
        try file.writeAll(bytes, path)
    }

    public func write(
        _ bytes: [UInt8],
        to file: borrowing Descriptor,
        at offset: Int,
        as path: String
    ) throws(Failure) {
        try file.writeAll(bytes, at: offset, path)
    }

    public func synchronizeData(_ file: borrowing Descriptor, as path: String) throws(Failure) {
        try file.synchronizeData(path)
    }

    public func synchronize(_ file: borrowing Descriptor, as path: String) throws(Failure) {
        try file.synchronize(path)
    }

    public func rename(
        _ name: String,
        in source: borrowing Descriptor,
        to newName: String,
        in target: borrowing Descriptor,
        as path: String
    ) throws(Failure) {
        let (from, to) = (source.number, target.number)
        try systemCall("renameat", "cannot replace \(path)") { renameat(from, name, to, newName) }
    }

    public func link(
        _ name: String,
        in directory: borrowing Descriptor,
        as newName: String,
        path: String
    ) throws(Failure) {
        let number = directory.number
        try systemCall("linkat", "cannot create \(path)") { linkat(number, name, number, newName, 0) }
    }

    public func makeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        let number = directory.number
        try systemCall("mkdirat", "cannot create \(path)") { mkdirat(number, name, 0o700) }
    }

    public func removeFile(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        try Platform.remove(name, at: directory, path)
    }

    public func removeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        try Platform.remove(name, at: directory, flags: AT_REMOVEDIR, path)
    }
}
