import CLinux
import FoundationEssentials
import Glibc
import Platform

/// A bundle's `config.json`, with the facts that show whether the container was made from it.
public struct BundleFile: Sendable {
    let path: String
    /// The parsed content.
    public let config: BundleConfig
    let content: [UInt8]
    /// The time of the last status change, by this host's clock; nil if another clock may have set it. stat(2)
    let lastChange: timespec?
}

/// The members of a bundle's `config.json` that the hook needs. runtime-spec, config.md and config-linux.md
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
        let capabilities: Capabilities?
        let apparmorProfile: String?
        let selinuxLabel: String?
    }

    struct Capabilities: Decodable, Equatable {
        let bounding: [String]?
        let effective: [String]?
        let inheritable: [String]?
        let permitted: [String]?
        let ambient: [String]?

        /// The names in any of the sets, in upper case and without `CAP_`; some runtimes take others too.
        var all: Set<String> {
            let names = [bounding, effective, inheritable, permitted, ambient].compactMap { $0 }.joined()
            return Set(names.map { $0.uppercased() }.map { $0.hasPrefix("CAP_") ? String($0.dropFirst(4)) : $0 })
        }
    }

    struct Hook: Decodable, Equatable {
        let path: String
        let args: [String]?
        let timeout: Int?

        /// Returns whether its path, or the first of its arguments, has this file name.
        ///
        /// A wrapper has another path, but can pass the program's name as the first argument.
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

    /// The largest `config.json` that is read, in bytes.
    static let sizeLimit = 16 << 20

    /// Reads and parses the `config.json` of a bundle.
    static func load(bundle: String) throws(Failure) -> BundleFile {
        let path = "\(bundle)/config.json"
        let file: Descriptor
        do {
            file = try .openFile(path, .read)
        } catch let error where error.code == ENOENT && bundle == "/" {
            // Some versions of crun pass their working directory, which they have left for a user namespace. crun, pull
            // request 2263
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

    /// Parses a `config.json`; errors call it `path`.
    init(parsing json: [UInt8], path: String) throws(Failure) {
        do {
            self = try JSONDecoder().decode(BundleConfig.self, from: Data(json))
        } catch {
            throw Failure("cannot read \(path)", because: explanation(of: error))
        }
    }

    /// Returns the root filesystem's absolute path; a relative `root.path` starts at the bundle.
    func rootPath(bundle: String) throws(Failure) -> String {
        guard let path = root?.path, !path.isEmpty, !path.utf8.contains(0) else {
            throw Failure("cannot find the container's root filesystem", because: "config.json has no root.path")
        }
        return path.utf8.first == UInt8(ascii: "/") ? path : "\(bundle)/\(path)"
    }

    /// Returns the shortest timeout of this program's `prestart` and `createRuntime` hooks, in seconds.
    ///
    /// It is nil if none has a timeout, since the runtime then waits without a limit.
    func timeout(ofHook program: String) -> Int? {
        let all = (hooks?.prestart ?? []) + (hooks?.createRuntime ?? [])
        return all.filter { $0.isNamed(program) }.compactMap(\.timeout).min()
    }

    /// Returns what follows an option of this program's hook, of the first that has it; nil if none has.
    func hookArgument(after option: String) -> String? {
        let all = (hooks?.prestart ?? []) + (hooks?.createRuntime ?? [])
        for arguments in all.filter({ $0.isNamed("vtpm-hook") }).compactMap(\.args) {
            guard let index = arguments.firstIndex(of: option), index + 1 < arguments.count else { continue }
            return arguments[index + 1]
        }
        return nil
    }

    /// Whether the last mount on `/dev` is a tmpfs of the container's own.
    var mountsOwnDev: Bool {
        let last = mounts?.last { mount in
            mount.destination.split(separator: "/").filter { $0 != "." }.elementsEqual(["dev"])
        }
        // Runtimes make a bind mount if one of these options is set, whatever the type is.
        let isBind = last?.options?.contains { $0 == "bind" || $0 == "rbind" } ?? false
        return last?.type == "tmpfs" && !isBind
    }
}
