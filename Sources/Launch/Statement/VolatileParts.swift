/// What engines put into a `config.json` that differs between two containers of the same image and configuration.
///
/// It is left out of the statement, or replaced by `*`. docs/launch.md lists it by engine.
enum VolatileParts {
    // MARK: - Paths

    /// Returns a mount's source without the parts that name a container, a pod, or a volume without a name.
    ///
    /// - docker: `/var/lib/docker/containers/<ID>/hostname`, `/var/lib/docker/volumes/<ID>/_data`
    /// - podman: `/run/containers/storage/overlay-containers/<ID>/userdata/hosts`
    /// - containerd's CRI: `/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/<ID>/hostname`
    /// - kubelet: `/var/lib/kubelet/pods/<UID>/volumes/kubernetes.io~projected/kube-api-access-<5 characters>`,
    ///   `/var/lib/kubelet/pods/<UID>/containers/<name>/<8 digits>`
    static func withoutVolatileParts(source path: String) -> String {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        var result: [String] = []
        for (index, part) in parts.enumerated() {
            if isIdentifier(part) {
                result.append("*")
            } else if part.hasPrefix(accessVolume), part.utf8.count == accessVolume.utf8.count + 5 {
                result.append(accessVolume + "*")
            } else if index >= 4, parts[index - 2] == "containers", parts[index - 4] == "pods", isHexadecimal(part, 8) {
                result.append("*")
            } else {
                result.append(part)
            }
        }
        return result.joined(separator: "/")
    }

    /// How kubelet names the volume with a pod's token.
    private static let accessVolume = "kube-api-access-"

    /// Returns whether a part of a path is an ID that an engine or kubelet has made: 64 or 32 digits, or a UUID.
    private static func isIdentifier(_ part: String) -> Bool {
        if isHexadecimal(part, 64) || isHexadecimal(part, 32) { return true }
        let groups = part.split(separator: "-", omittingEmptySubsequences: false)
        return groups.count == 5 && zip(groups, [8, 4, 4, 4, 12]).allSatisfy { isHexadecimal(String($0), $1) }
    }

    private static func isHexadecimal(_ text: String, _ count: Int) -> Bool {
        text.utf8.count == count
            && text.utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
    }

    // MARK: - Environment

    /// The variables that name the container or this one start of it.
    private static let variables = ["HOSTNAME", "INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET"]

    /// Returns the names of variables that are left out: those that name the container, and of a pod's container those of the
    /// services that its namespace happens to have when it starts.
    ///
    /// kubelet sets `WEB_SERVICE_HOST`, `WEB_SERVICE_PORT`, `WEB_PORT` and others for a service `web`.
    static func variables(among names: [String], isOfPod: Bool) -> Set<String> {
        var volatile = Set(variables)
        guard isOfPod else { return volatile }
        let suffix = "_SERVICE_HOST"
        for service in names.filter({ $0.hasSuffix(suffix) }).map({ $0.dropLast(suffix.count) }) {
            let (ports, links) = ("\(service)_SERVICE_", "\(service)_PORT")
            for name in names where name.hasPrefix(ports) || name == links || name.hasPrefix(links + "_") {
                volatile.insert(name)
            }
        }
        return volatile
    }

    // MARK: - Labels

    /// Returns an SELinux label without its level, by which podman and CRI-O keep containers apart.
    static func withoutLevel(label: String) -> String {
        label.split(separator: ":", maxSplits: 3, omittingEmptySubsequences: false).prefix(3).joined(separator: ":")
    }

    /// Returns a mount option without the level of an SELinux label in it.
    static func withoutVolatileParts(option: String) -> String {
        for key in ["context=", "fscontext=", "defcontext=", "rootcontext="] where option.hasPrefix(key) {
            let label = option.dropFirst(key.count).filter { $0 != "\"" }
            return key + withoutLevel(label: label)
        }
        return option
    }

    // MARK: - Namespaces

    /// Returns the path of a namespace that a container joins: only those of the host's first process are told from others.
    static func withoutVolatileParts(namespace path: String) -> String {
        path.utf8.starts(with: "/proc/1/".utf8) ? path : "*"
    }
}
