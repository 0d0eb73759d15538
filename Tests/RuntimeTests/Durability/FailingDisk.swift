import CLinux
import Glibc
import Platform

@testable import RuntimeState

/// A fixture: a disk on which one call fails, or from one call on all.
final class FailingDisk: Disk {
    /// What goes wrong.
    enum Fault {
        /// This call fails, counted from 0; a write fails after this part of its bytes, in eighths.
        case fails(call: Int, code: CInt, written: Int)
        /// This call and all that follow fail, as if the process had been killed before it.
        case dies(call: Int)
    }

    /// The call after which what was made new may be found although it was not acknowledged.
    static let directorySync = "fsync of a directory"
    /// The same of a write in place.
    static let dataSync = "fdatasync"

    private let disk: any Disk
    private var fault: Fault?
    /// How many calls there were since the fault was set.
    private(set) var calls = 0
    /// The call that failed first; nothing where the fault was not reached.
    private(set) var firstFailure: String?

    init(_ disk: any Disk, _ fault: Fault?) {
        self.disk = disk
        self.fault = fault
    }

    /// Sets what goes wrong from now on, and counts from 0 again.
    func arm(_ fault: Fault?) {
        self.fault = fault
        calls = 0
        firstFailure = nil
    }

    /// Counts a call; throws where it is to fail.
    ///
    /// Returns how many eighths of a write are written before it does.
    private func pass(_ call: String) throws(Failure) -> Int? {
        defer { calls += 1 }
        switch fault {
        case .fails(let number, let code, let written) where number == calls:
            firstFailure = call
            if call == "write", written > 0 { return written }
            throw Failure("cannot do what the test forbids", call: call, code: code)
        case .dies(let number) where calls >= number:
            firstFailure = firstFailure ?? call
            throw Failure("cannot go on", call: call, code: EIO)
        default:
            return nil
        }
    }

    func create(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) -> Descriptor {
        _ = try pass("openat2")
        return try disk.create(name, in: directory, as: path)
    }

    func write(
        _ bytes: UnsafeRawBufferPointer,
        to file: borrowing Descriptor,
        as path: String
    ) throws(Failure) {
        guard let eighths = try pass("write") else { return try disk.write(bytes, to: file, as: path) }
        try disk.write(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count * eighths / 8)]), to: file, as: path)
        guard case .fails(_, let code, _) = fault else { return }
        throw Failure("cannot write the rest", call: "write", code: code)
    }

    func write(
        _ bytes: [UInt8],
        to file: borrowing Descriptor,
        at offset: Int,
        as path: String
    ) throws(Failure) {
        guard let eighths = try pass("write") else {
            return try disk.write(bytes, to: file, at: offset, as: path)
        }
        try disk.write(Array(bytes.prefix(bytes.count * eighths / 8)), to: file, at: offset, as: path)
        guard case .fails(_, let code, _) = fault else { return }
        throw Failure("cannot write the rest", call: "pwrite", code: code)
    }

    func synchronizeData(_ file: borrowing Descriptor, as path: String) throws(Failure) {
        _ = try pass(Self.dataSync)
        try disk.synchronizeData(file, as: path)
    }

    func synchronize(_ file: borrowing Descriptor, as path: String) throws(Failure) {
        var status = stat()
        let isDirectory = fstat(file.number, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
        _ = try pass(isDirectory ? Self.directorySync : "fsync")
        try disk.synchronize(file, as: path)
    }

    func rename(
        _ name: String,
        in source: borrowing Descriptor,
        to newName: String,
        in target: borrowing Descriptor,
        as path: String
    ) throws(Failure) {
        _ = try pass("renameat")
        try disk.rename(name, in: source, to: newName, in: target, as: path)
    }

    func link(
        _ name: String,
        in directory: borrowing Descriptor,
        as newName: String,
        path: String
    ) throws(Failure) {
        _ = try pass("linkat")
        try disk.link(name, in: directory, as: newName, path: path)
    }

    func makeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        _ = try pass("mkdirat")
        try disk.makeDirectory(name, in: directory, as: path)
    }

    func removeFile(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        _ = try pass("unlinkat")
        try disk.removeFile(name, in: directory, as: path)
    }

    func removeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        _ = try pass("unlinkat")
        try disk.removeDirectory(name, in: directory, as: path)
    }
}
