/// What engines put into a `config.json` that differs between two containers of the same image and configuration.
///
/// It is left out of the statement, or replaced by `*`. docs/launch.md lists it by engine. All texts are compared by their bytes.
enum VolatileParts {
    // MARK: - Paths

    /// A part of a path.
    private enum Part {
        /// This one.
        case word(String)
        /// One of these.
        case oneOf([String])
        /// Any that ends so.
        case suffix(String)
        /// Any.
        case any
        /// An ID that an engine has made, 64 digits, which is replaced.
        case identifier
        /// A pod's UID, a UUID or 32 digits, which is replaced.
        case podUID
        /// Eight digits, which are replaced.
        case digits
        /// This and five characters, which are replaced.
        case random(String)
    }

    /// Where engines keep what they make for one container, or a volume without a name.
    private static let places: [[Part]] = [
        // docker
        [.word("containers"), .identifier, .oneOf(["hostname", "hosts", "resolv.conf", "mounts", "secrets"])],
        [.word("volumes"), .identifier, .word("_data")],
        // podman, CRI-O, by the name of the storage driver
        [.suffix("-containers"), .identifier, .word("userdata")],
        // containerd's CRI
        [.word("io.containerd.grpc.v1.cri"), .word("sandboxes"), .identifier],
        [.word("io.containerd.grpc.v1.cri"), .word("containers"), .identifier, .word("volumes"), .identifier],
        // nerdctl
        [.word("nerdctl"), .any, .word("containers"), .any, .identifier],
        [.word("nerdctl"), .any, .word("etchosts"), .any, .identifier],
        // kubelet
        [.word("pods"), .podUID, .word("containers"), .any, .digits],
        [.word("pods"), .podUID, .word("volumes"), .word("kubernetes.io~projected"), .random("kube-api-access-")],
        [.word("pods"), .podUID, .oneOf(["volumes", "volume-subpaths", "etc-hosts", "plugins"])],
    ]

    /// The longest path, in bytes. linux: PATH_MAX
    private static let pathLimit = 4096

    /// Returns a mount's source without the parts that name a container, a pod, or a volume without a name.
    ///
    /// One that is as long as no path can be stays as it is.
    static func withoutVolatileParts(source path: String) -> String {
        guard path.utf8.count < pathLimit else { return path }
        let parts = path.parts(at: "/")
        var result = parts
        for start in parts.indices {
            for place in places where start + place.count <= parts.count {
                var replaced = result
                let matches = place.indices.allSatisfy { index in
                    guard let part = match(parts[start + index], place[index]) else { return false }
                    replaced[start + index] = part
                    return true
                }
                if matches {
                    for index in place.indices where !replaced[start + index].isSame(as: parts[start + index]) {
                        result[start + index] = replaced[start + index]
                    }
                }
            }
        }
        return result.joined(separator: "/")
    }

    /// Returns what stands for a part; nil if it is another one.
    private static func match(_ text: String, _ part: Part) -> String? {
        switch part {
        case .word(let word): text.isSame(as: word) ? text : nil
        case .oneOf(let words): words.contains { text.isSame(as: $0) } ? text : nil
        case .suffix(let end): Array(text.utf8.suffix(end.utf8.count)) == Array(end.utf8) ? text : nil
        case .any: text
        case .identifier: isHexadecimal(text, 64) ? "*" : nil
        case .podUID: isPodUID(text) ? "*" : nil
        case .digits: isHexadecimal(text, 8) ? "*" : nil
        case .random(let start):
            text.utf8.starts(with: start.utf8) && text.utf8.count == start.utf8.count + 5 ? start + "*" : nil
        }
    }

    /// Returns whether a mount is of a file that podman or CRI-O has made for the container, by its source without volatile parts.
    ///
    /// podman writes these in another order each time: `…/overlay-containers/*/userdata/hosts`.
    static func isInNoOrder(source: String) -> Bool {
        let parts = source.parts(at: "/")
        let place: [Part] = [.suffix("-containers"), .word("*"), .word("userdata")]
        return parts.indices.dropLast(place.count - 1).contains { start in
            place.indices.allSatisfy { match(parts[start + $0], place[$0]) != nil }
        }
    }

    /// Returns whether a part of a path is a pod's UID; that of a static pod has no dashes.
    private static func isPodUID(_ part: String) -> Bool {
        if isHexadecimal(part, 32) { return true }
        let groups = part.parts(at: "-")
        return groups.count == 5 && zip(groups, [8, 4, 4, 4, 12]).allSatisfy { isHexadecimal($0, $1) }
    }

    static func isHexadecimal(_ text: String, _ count: Int) -> Bool {
        text.utf8.count == count
            && text.utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
    }

    // MARK: - Environment

    /// The variables that name the container or this one start of it.
    private static let variables = ["HOSTNAME", "INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET"]
    private static let host = Array("_SERVICE_HOST".utf8)
    private static let service = Array("_SERVICE_".utf8)
    private static let port = Array("_PORT".utf8)
    /// The longest name of a service, in bytes. RFC 1123, a label
    private static let serviceLimit = 63

    /// Returns whether variables are left out, in their order: those that name the container, and of a pod's container those of
    /// the services that its namespace happens to have when it starts.
    ///
    /// kubelet sets `WEB_SERVICE_HOST`, `WEB_SERVICE_PORT`, `WEB_PORT` and others for a service `web`.
    static func areLeftOut(variables names: [String], isOfPod: Bool) -> [Bool] {
        let bytes = names.map { Array($0.utf8) }
        let services =
            isOfPod
            ? Set(
                bytes.filter { name in
                    (host.count...host.count + serviceLimit).contains(name.count)
                        && name.suffix(host.count) == host[...]
                }.map { $0.dropLast(host.count) }
            )
            : []
        return bytes.map { name in
            variables.contains { name == Array($0.utf8) } || isOfService(name, services)
        }
    }

    private static func isOfService(_ name: [UInt8], _ services: Set<ArraySlice<UInt8>>) -> Bool {
        guard !services.isEmpty else { return false }
        return name.indices.prefix(serviceLimit + 1).contains { index in
            let rest = name[index...]
            guard rest.first == UInt8(ascii: "_") else { return false }
            let isLink = rest.starts(with: port) && (rest.count == port.count || rest[index + port.count] == service[0])
            return (isLink || rest.starts(with: service)) && services.contains(name[..<index])
        }
    }

    // MARK: - Labels

    /// Returns an SELinux label without its level, if that is one by which podman and CRI-O keep containers apart: `s0:c1,c2`.
    ///
    /// Any other level lets the container at others' files, or keeps it from its own: such a label stays as it is.
    static func withoutLevel(label: String) -> String {
        let parts = label.parts(at: ":", maxSplits: 3)
        guard parts.count == 4 else { return label }
        let level = parts[3].parts(at: ":")
        let categories = level.count == 2 ? level[1].parts(at: ",") : []
        let isOwn = level[0].isSame(as: "s0") && categories.count == 2 && categories.allSatisfy(isCategory)
        return isOwn ? parts[..<3].joined(separator: ":") : label
    }

    /// Returns whether a text is one category, `c` and a number.
    private static func isCategory(_ text: String) -> Bool {
        let digits = text.utf8.dropFirst()
        return text.utf8.first == UInt8(ascii: "c") && (1...4).contains(digits.count)
            && digits.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains)
    }

    /// Returns a mount option without the level of an SELinux label in it.
    static func withoutVolatileParts(option: String) -> String {
        for key in ["context=", "fscontext=", "defcontext=", "rootcontext="] where option.utf8.starts(with: key.utf8) {
            let label = option.utf8.dropFirst(key.utf8.count).filter { $0 != UInt8(ascii: "\"") }
            return key + withoutLevel(label: String(decoding: label, as: UTF8.self))
        }
        return option
    }
}
