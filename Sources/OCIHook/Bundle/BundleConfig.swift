import CLinux
import FoundationEssentials
import Glibc
import Platform

/// A bundle's `config.json`, and what tells whether the container was made from it.
public struct BundleFile: Sendable {
    let path: String
    /// What it says.
    public let config: BundleConfig
    let content: [UInt8]
    /// When it was changed last, by this host's clock; nil if another clock may have counted.
    let lastChange: timespec?
}

/// What the hook needs to know of a bundle's `config.json`. runtime-spec, config.md and config-linux.md
public struct BundleConfig: Decodable, Equatable, Sendable {
    struct Root: Decodable, Equatable {
        let path: String
    }

    struct Mount: Decodable, Equatable {
        let destination: String
        let type: String?
        let options: [String]?
    }

    struct User: Decodable, Equatable {
        let uid: UInt32?
        let gid: UInt32?
    }

    struct Process: Decodable, Equatable {
        let user: User?
        let selinuxLabel: String?
    }

    struct Hook: Decodable, Equatable {
        let path: String
        let args: [String]?
        let timeout: Int?

        /// Whether it is a program of this name, or is told that it is, as one that another wraps.
        func isNamed(_ program: String) -> Bool {
            [path, args?.first ?? ""].contains { $0.split(separator: "/").last?.elementsEqual(program) ?? false }
        }
    }

    struct Hooks: Decodable, Equatable {
        let prestart: [Hook]?
        let createRuntime: [Hook]?
    }

    struct Linux: Decodable, Equatable {
        let uidMappings: [IDMap.Extent]?
        let gidMappings: [IDMap.Extent]?
        let cgroupsPath: String?
        let mountLabel: String?
    }

    let root: Root?
    let mounts: [Mount]?
    let process: Process?
    let linux: Linux?
    let hooks: Hooks?
    let annotations: [String: String]?

    /// The largest configuration that is read, in bytes.
    static let sizeLimit = 16 << 20

    /// Reads `config.json` of a bundle.
    static func load(bundle: String) throws(Failure) -> BundleFile {
        let path = "\(bundle)/config.json"
        let file: Descriptor
        do {
            file = try .openFile(path, .read)
        } catch let error where error.code == ENOENT && bundle == "/" {
            // Some crun give their working directory, which they have left for a user namespace: crun, pull request 2263.
            throw error.withHint("the runtime gives / as the bundle: crun does in user namespaces, unless it is new")
        }
        let status = try file.status(path)
        let content = try file.readAll(limit: sizeLimit, path)
        return BundleFile(
            path: path,
            config: try BundleConfig(parsing: content, path: path),
            content: content,
            lastChange: LocalTimes.areKept(on: try file.fileSystemMagic(path)) ? status.st_ctim : nil
        )
    }

    /// Parses a configuration; `path` is for errors.
    init(parsing json: [UInt8], path: String) throws(Failure) {
        do {
            self = try JSONDecoder().decode(BundleConfig.self, from: Data(json))
        } catch {
            throw Failure("cannot read \(path)", because: explanation(of: error))
        }
    }

    /// The root filesystem's absolute path.
    func rootPath(bundle: String) throws(Failure) -> String {
        guard let path = root?.path, !path.isEmpty, !path.utf8.contains(0) else {
            throw Failure("cannot find the container's root filesystem", because: "config.json has no root.path")
        }
        return path.hasPrefix("/") ? path : "\(bundle)/\(path)"
    }

    /// How many seconds the runtime gives a program that creates something as its hook; nil if it waits without end.
    ///
    /// Of several the shortest counts.
    func timeout(ofHook program: String) -> Int? {
        let all = (hooks?.prestart ?? []) + (hooks?.createRuntime ?? [])
        return all.filter { $0.isNamed(program) }.compactMap(\.timeout).min()
    }

    /// Whether what the runtime mounts last on `/dev` is a tmpfs of the container's own.
    var mountsOwnDev: Bool {
        let last = mounts?.last { mount in
            mount.destination.split(separator: "/").filter { $0 != "." }.elementsEqual(["dev"])
        }
        // Runtimes take a mount with one of these options for a bind mount, whatever its type says.
        let isBind = last?.options?.contains { $0 == "bind" || $0 == "rbind" } ?? false
        return last?.type == "tmpfs" && !isBind
    }
}
