import CLinux
import Glibc
import Platform

/// The copy of `config.json` that crun keeps beside a container's state, made before its first hook.
///
/// crun, src/libcrun/container.c, `libcrun_copy_config_file`. runc keeps none.
struct CrunCopy: Equatable, Sendable {
    let path: String
    let content: [UInt8]

    /// Finds the copy; returns nil unless the init is crun's and the copy is certainly this container's.
    static func find(
        of containerID: String,
        _ initProcess: borrowing ProcessHandle,
        _ procfs: borrowing Procfs
    ) throws(Failure) -> CrunCopy? {
        let folders: [String]
        if let folder = try folderOfFIFO(initProcess, procfs, containerID) {
            folders = [folder]
        } else {
            let commandLine = try procfs.read("\(initProcess.process)/cmdline", limit: 1 << 20)
            folders = foldersOfRun(commandLine, containerID)
        }
        guard try initProcess.isAlive() else {
            throw Failure("cannot give the container its TPM", because: "the container's init ended")
        }
        for folder in folders {
            let path = "\(folder)/config.json"
            do {
                let file = try Descriptor.open(path, OpenOptions(O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW))
                return CrunCopy(path: path, content: try file.readAll(limit: BundleConfig.sizeLimit, path))
            } catch let error where error.code == ENOENT || error.code == ENOTDIR {}
        }
        return nil
    }

    /// Returns the state's folder after `crun create`: the init holds the FIFO in it that `crun start` will open.
    private static func folderOfFIFO(
        _ initProcess: borrowing ProcessHandle,
        _ procfs: borrowing Procfs,
        _ containerID: String
    ) throws(Failure) -> String? {
        let path = "\(initProcess.process)/fd"
        let descriptors = try procfs.open(path, O_RDONLY | O_DIRECTORY)
        for name in try entries(of: descriptors, "/proc/\(path)") {
            guard let target = try? procfs.link("\(path)/\(name)"), let folder = folder(ofFIFO: target, of: containerID)
            else { continue }
            // The path belongs to the container's mount namespace, so it must lead to the same FIFO in the hook's.
            guard let held = try? Descriptor.open(name, OpenOptions(openPathOnly), at: descriptors.number),
                let here = try? Descriptor.open(target, OpenOptions(openPathOnly | O_NOFOLLOW)),
                let one = try? held.status(target), let other = try? here.status(target)
            else { continue }
            if one.st_dev == other.st_dev, one.st_ino == other.st_ino, one.st_mode & S_IFMT == S_IFIFO { return folder }
        }
        return nil
    }

    /// Returns the folder of a container's state from the path of its FIFO; nil if it is another path.
    static func folder(ofFIFO path: String, of containerID: String) -> String? {
        let suffix = "/\(containerID)/exec.fifo"
        guard path.utf8.first == UInt8(ascii: "/"), path.utf8.count > suffix.utf8.count,
            path.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
        else { return nil }
        return String(path.dropLast("/exec.fifo".count))
    }

    /// Returns the possible folders of the state during `crun run`.
    ///
    /// There is no FIFO then, but the init still has crun's command line, and crun refuses a folder that already
    /// exists. A folder with the file `status` belongs to another container whose creation has ended: crun writes that
    /// file after the hooks.
    private static func foldersOfRun(_ commandLine: [UInt8], _ containerID: String) -> [String] {
        roots(inCommandLine: commandLine).map { "\($0)/\(containerID)" }.filter { access("\($0)/status", F_OK) != 0 }
    }

    /// Returns the directories where a `crun run` may keep its states.
    ///
    /// The result is empty if this is no such command, or if its `--root` is in doubt.
    static func roots(inCommandLine bytes: [UInt8]) -> [String] {
        let arguments = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
        guard arguments.first?.split(separator: "/").last?.hasPrefix("crun") ?? false, arguments.contains("run") else {
            return []
        }
        var roots = ["/run/crun"]
        for (index, argument) in arguments.enumerated() where argument.hasPrefix("--r") {
            if argument == "--root", index + 1 < arguments.count {
                roots = [arguments[index + 1]]
            } else if argument.hasPrefix("--root=") {
                roots = [String(argument.dropFirst("--root=".count))]
            } else {
                return []
            }
        }
        return roots.filter { $0.hasPrefix("/") }
    }
}
