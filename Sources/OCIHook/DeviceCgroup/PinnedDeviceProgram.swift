import CLinux
import Glibc
import Platform

/// A device program that is pinned in a BPF file system, and that systemd attaches to a unit's cgroup from there.
///
/// crun pins one from version 1.23 on, and names it in the unit's BPFProgram property. systemd opens the path again
/// whenever it realizes the unit's cgroup after a daemon-reload, so that what is pinned has to allow the devices too.
struct PinnedDeviceProgram {
    /// The directory's path, without the last slash.
    private let directoryPath: String
    /// The name in the directory.
    private let name: String
    private let what: String
    /// The magic number of the file system that it has to be on.
    private let fileSystem: Int

    /// The ending of the new program's name until it takes the old one's place; names there must have no dot.
    private static let unfinished = "_vtpm"

    /// Takes the path of a pinned program.
    ///
    /// - Throws: ``Failure`` if it is no path of a file.
    init(path: String, on fileSystem: Int = Int(BPF_FS_MAGIC)) throws(Failure) {
        self.fileSystem = fileSystem
        what = "cannot change the device filter that is pinned at \(path.excerpt)"
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")), path.utf8.first == UInt8(ascii: "/") else {
            throw Failure(what, because: "it is no absolute path")
        }
        directoryPath = String(path[..<slash])
        name = String(path[path.utf8.index(after: slash)...])
        guard !directoryPath.isEmpty, !name.isEmpty, name != ".", name != ".." else {
            throw Failure(what, because: "it is no path of a file")
        }
    }

    /// Replaces the program, where it is attached and where it is pinned, by one that allows the devices as well.
    ///
    /// A program that allows them already stays as it is.
    ///
    /// - Parameters:
    ///   - patcher: The devices, and the kernel.
    ///   - cgroup: The unit's cgroup, to which systemd has attached the program.
    /// - Throws: ``Failure`` if somebody else could change what is pinned, or the kernel refuses.
    func apply(_ patcher: DeviceProgramPatcher<some BPF>, to cgroup: CInt) throws(Failure) {
        let directory = try openDirectory()
        let path = "/proc/self/fd/\(directory.number)/\(name)"
        let kernel = patcher.kernel
        do throws(Failure) {
            let old = try kernel.open(pinnedAt: path)
            let dumped = try kernel.dump(old)
            guard !patcher.allowsAll(dumped) else { return }
            let new = try kernel.load(DeviceProgram(dumped: dumped).allowing(patcher.devices))
            let number = directory.number
            let unfinished = name + Self.unfinished
            try remove(unfinished, at: directory, what)
            try kernel.pin(new, at: path + Self.unfinished)
            do {
                try systemCall("renameat", what) { renameat(number, unfinished, number, name) }
            } catch {
                try? remove(unfinished, at: directory, what)
                throw error
            }
            // The same program in both places: systemd attaches what is pinned beside any other. It comes last, so that
            // nobody takes the devices for allowed before they stay so.
            try patcher.replace(old, by: new, of: cgroup)
        } catch {
            throw Failure(what, because: error.why, code: error.code, hint: error.hint)
        }
    }

    /// Opens the directory, in which only root may change anything.
    private func openDirectory() throws(Failure) -> Descriptor {
        let root = try Descriptor.open("/", .directory)
        let path = String(directoryPath.dropFirst())
        let directory = try Descriptor.open(path, .beneath(O_RDONLY | O_DIRECTORY), at: root.number, as: directoryPath)
        guard try directory.fileSystemMagic(directoryPath) == fileSystem else {
            throw Failure(what, because: "it is not on a BPF file system")
        }
        let status = try directory.status(directoryPath)
        guard status.st_uid == 0, status.st_mode & 0o022 == 0 else {
            throw Failure(what, because: "another user could change it")
        }
        return directory
    }
}
