import CLinux
import Glibc
import Platform

@testable import RuntimeState

/// A fixture: does everything to a real directory, and records it.
final class RecordingDisk: Disk {
    private(set) var recording = Recording()
    private let disk = LocalDisk()
    private var nodes: [Inode: Recording.Node] = [:]
    private var lastNode = Recording.root

    private struct Inode: Hashable {
        var device: UInt
        var number: UInt

        init(_ status: stat) {
            device = status.st_dev
            number = status.st_ino
        }
    }

    /// Begins with all that is in a directory, as if it were on stable storage.
    init(in root: String) throws(Failure) {
        try restart(in: root)
    }

    /// Begins anew with all that there is now, as if it were on stable storage; promises stay.
    func restart(in root: String) throws(Failure) {
        let promises = recording.events.filter { if case .promise = $0 { true } else { false } }
        recording = Recording(events: promises)
        nodes = [:]
        lastNode = Recording.root
        let directory = try Descriptor.open(root, .directory)
        nodes[Inode(try directory.status(root))] = Recording.root
        try survey(directory, Recording.root)
    }

    func promise(_ promise: Promise) { recording.events.append(.promise(promise)) }

    private func survey(_ directory: borrowing Descriptor, _ node: Recording.Node) throws(Failure) {
        var found: [String: Recording.Node] = [:]
        for name in try entries(of: directory, "what there is") {
            let entry = try Descriptor.open(name, .beneath(O_RDONLY), at: directory.number)
            let status = try entry.status(name)
            let new = adopt(status)
            found[name] = new
            if status.st_mode & S_IFMT == S_IFDIR {
                try survey(entry, new)
            } else {
                recording.base[new] = .file(try entry.readAll(limit: 1 << 24, name))
            }
        }
        recording.base[node] = .directory(found)
    }

    private func adopt(_ status: stat) -> Recording.Node {
        lastNode += 1
        nodes[Inode(status)] = lastNode
        return lastNode
    }

    private func node(_ descriptor: borrowing Descriptor) throws(Failure) -> Recording.Node {
        guard let node = nodes[Inode(try descriptor.status("what is recorded"))] else {
            throw Failure("cannot record", because: "a descriptor is not of this disk")
        }
        return node
    }

    private func place(_ name: String, _ directory: borrowing Descriptor) throws(Failure) -> Recording.Place {
        Recording.Place(directory: try node(directory), name: name)
    }

    /// What has a name; nothing where nothing has it.
    private func node(_ name: String, in directory: borrowing Descriptor) -> Recording.Node? {
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        return nodes[Inode(status)]
    }

    func create(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) -> Descriptor {
        let existing = node(name, in: directory)
        let file = try disk.create(name, in: directory, as: path)
        if let existing {
            recording.events.append(.truncate(existing))
        } else {
            recording.events.append(.create(adopt(try file.status(path)), try place(name, directory)))
        }
        return file
    }

    func write(
        _ bytes: UnsafeRawBufferPointer,
        to file: borrowing Descriptor,
        as path: String
    ) throws(Failure) {
        try disk.write(bytes, to: file, as: path)
        recording.events.append(.write(try node(file), Array(bytes)))
    }

    func write(
        _ bytes: [UInt8],
        to file: borrowing Descriptor,
        at offset: Int,
        as path: String
    ) throws(Failure) {
        try disk.write(bytes, to: file, at: offset, as: path)
        recording.events.append(.overwrite(try node(file), offset, bytes))
    }

    func synchronizeData(_ file: borrowing Descriptor, as path: String) throws(Failure) {
        try disk.synchronizeData(file, as: path)
        recording.events.append(.synchronize(try node(file)))
    }

    func synchronize(_ file: borrowing Descriptor, as path: String) throws(Failure) {
        try disk.synchronize(file, as: path)
        recording.events.append(.synchronize(try node(file)))
    }

    func rename(
        _ name: String,
        in source: borrowing Descriptor,
        to newName: String,
        in target: borrowing Descriptor,
        as path: String
    ) throws(Failure) {
        let moved = node(name, in: source)
        try disk.rename(name, in: source, to: newName, in: target, as: path)
        guard let moved else { throw Failure("cannot record", because: "\(name) was unknown") }
        recording.events.append(.rename(moved, from: try place(name, source), to: try place(newName, target)))
    }

    func link(
        _ name: String,
        in directory: borrowing Descriptor,
        as newName: String,
        path: String
    ) throws(Failure) {
        try disk.link(name, in: directory, as: newName, path: path)
        guard let linked = node(name, in: directory) else {
            throw Failure("cannot record", because: "\(name) was unknown")
        }
        recording.events.append(.link(linked, try place(newName, directory)))
    }

    func makeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        try disk.makeDirectory(name, in: directory, as: path)
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            throw Failure("cannot record", because: "\(name) is gone")
        }
        recording.events.append(.makeDirectory(adopt(status), try place(name, directory)))
    }

    func removeFile(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        let existed = node(name, in: directory) != nil
        try disk.removeFile(name, in: directory, as: path)
        if existed { recording.events.append(.remove(try place(name, directory))) }
    }

    func removeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        let existed = node(name, in: directory) != nil
        try disk.removeDirectory(name, in: directory, as: path)
        if existed { recording.events.append(.remove(try place(name, directory))) }
    }
}
