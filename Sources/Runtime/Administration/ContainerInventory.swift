import Glibc
import Platform

/// The containers that the engines of this host know, as far as files and lists on the host show them.
///
/// In doubt it reports a container as known: a container is unknown only if it certainly no longer exists.
public final class ContainerInventory {
    private let root: String
    private let list: (_ program: [String]) -> [String]?
    private var listed: [String: Set<String>?] = [:]

    /// The directories in which engines keep a directory or file for each of their containers until it is removed.
    ///
    /// runc(8) and crun(1): `--root`; podman-system-service(1) and CRI-O: containers-storage.conf(5); moby: data-root;
    /// containerd's CRI plugin: its root.
    private static let places = [
        "/run/runc", "/run/crun", "/run/containerd/runc/k8s.io", "/run/docker/runtime-runc/moby",
        "/run/containerd/io.containerd.runtime.v2.task/k8s.io", "/run/containerd/io.containerd.runtime.v2.task/moby",
        "/var/lib/docker/containers", "/var/lib/containers/storage/overlay-containers",
        "/run/containers/storage/overlay-containers",
        "/var/lib/containerd/io.containerd.grpc.v1.cri/containers",
        "/var/lib/rancher/k3s/agent/containerd/io.containerd.grpc.v1.cri/containers",
        "/var/lib/rancher/rke2/agent/containerd/io.containerd.grpc.v1.cri/containers",
    ]

    /// The path component that precedes the namespace in the path of a bundle that a containerd shim made.
    private static let tasks = "io.containerd.runtime.v2.task"

    /// Creates an inventory of this host.
    ///
    /// `root` is prepended to all paths. `list` runs a program with its arguments and returns the lines that it prints,
    /// or nil if the program does not exist or fails.
    public init(root: String = "", list: @escaping (_ program: [String]) -> [String]?) {
        self.root = root
        self.list = list
    }

    /// Returns whether an engine knows the container that used a state last, or may know it.
    public func knows(containerID: String, bundle: String) -> Bool {
        // Without a bundle the container's engine is unknown.
        guard !bundle.isEmpty else { return true }
        if exists(bundle) { return true }
        // The state was last used before containers' IDs were recorded.
        let id = containerID.isEmpty ? lastComponent(of: bundle) : containerID
        // An ID that is no file name is in none of these directories.
        let isName = !id.isEmpty && !id.utf8.contains(UInt8(ascii: "/")) && id != "." && id != ".."
        if isName, Self.places.contains(where: { exists("\($0)/\(id)") }) { return true }
        switch namespace(of: bundle) {
        case "moby": return isListed(id, by: ["/usr/bin/docker", "ps", "--all", "--quiet", "--no-trunc"])
        case .some(let namespace):
            return isListed(id, by: ["/usr/bin/ctr", "--namespace", namespace, "containers", "list", "--quiet"])
        // Bundles in /run are created anew at each start, by an engine that is unknown here.
        case nil: return bundle.hasPrefix("/run/") || bundle.hasPrefix("/var/run/")
        }
    }

    private func exists(_ path: String) -> Bool {
        // A path that cannot be examined may exist.
        if access(root + path, F_OK) == 0 { return true }
        let code = errno
        return code != ENOENT && code != ENOTDIR && code != ENAMETOOLONG
    }

    /// Returns the namespace of a bundle of containerd's, in any state directory; returns nil for other bundles.
    private func namespace(of bundle: String) -> String? {
        let parts = bundle.utf8.split(separator: UInt8(ascii: "/"))
        guard let index = parts.firstIndex(where: { $0.elementsEqual(Self.tasks.utf8) }), index + 2 < parts.count else {
            return nil
        }
        return String(parts[index + 1])
    }

    private func lastComponent(of path: String) -> String {
        let bytes = Array(path.utf8)
        let start = bytes.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
        return String(decoding: bytes[start...], as: UTF8.self)
    }

    /// Returns whether a program's list has the ID; each program is run only once.
    ///
    /// Returns true if the program cannot be run, since it may know the container.
    private func isListed(_ id: String, by program: [String]) -> Bool {
        let key = program.joined(separator: " ")
        let found = listed[key] ?? list(program).map { Set($0) }
        listed[key] = .some(found)
        return found?.contains(id) ?? true
    }
}
