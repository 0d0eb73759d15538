import JSONText
import Platform
import TOMLText

// The folders from which engines read hooks and devices.
extension Places {
    /// podman's files, in the order in which it reads them. containers.conf(5)
    func podmanFiles() throws(Failure) -> [String] {
        let folder = "/etc/containers/containers.conf.d"
        return ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"]
            + (try host.names(in: folder, ending: ".conf").map { "\(folder)/\($0)" })
    }

    /// CRI-O's files, in the order in which it reads them. crio.conf(5)
    func crioFiles() throws(Failure) -> [String] {
        let folder = "/etc/crio/crio.conf.d"
        return ["/etc/crio/crio.conf"] + (try host.names(in: folder, ending: "").map { "\(folder)/\($0)" })
    }

    /// Returns the folder of hooks whose files take precedence, of those that podman reads.
    func hooksFolder() throws(Failure) -> String {
        let folders = try podmanFolders("hooks_dir", standard: [Self.hooksFolder])
        guard let folder = folders.last.map(Self.cleanIfAbsolute), folder.hasPrefix("/")
        else {
            throw Failure(
                "cannot configure podman",
                because: "it reads hooks from no folder",
                hint: "vtpmctl engine install podman --way runtime"
            )
        }
        return folder
    }

    /// Returns the file of our device, in a folder that the engine reads and that is still there after a boot.
    func device() throws(Failure) -> (path: String, text: any EngineText) {
        let read = try readDeviceFolders()
        let lasting = read.filter { $0.hasPrefix("/") && !$0.hasPrefix("/run/") && !$0.hasPrefix("/var/run/") }
        guard let folder = lasting.first(where: { $0 == Self.deviceFolders[0] }) ?? lasting.first else {
            let place = read.isEmpty ? "no folder" : "\(read.joined(separator: ", ")) alone, which a boot empties"
            throw Failure(
                "cannot configure \(engine.rawValue)",
                because: "it reads devices from \(place)",
                hint: "add \(Self.deviceFolders[0]) to its folders, or --way runtime"
            )
        }
        let path = "\(folder)/\(HookFiles.device)"
        let content = HookFiles.cdi(hook: host.layout.hook)
        return (path, OwnText(path: path, content: content, hook: host.layout.hook))
    }

    /// Returns the folders from which the engine reads devices, as far as its files tell.
    ///
    /// Each has one spelling, so that engines that read the same folder have the same file in it.
    func readDeviceFolders() throws(Failure) -> [String] { try namedDeviceFolders().map(Self.cleanIfAbsolute) }

    private static func cleanIfAbsolute(_ path: String) -> String {
        path.hasPrefix("/") ? EngineFiles.clean(path) : path
    }

    private func namedDeviceFolders() throws(Failure) -> [String] {
        let key = "cdi_spec_dirs"
        switch engine {
        case .docker:
            guard let bytes = try host.files.look(Self.daemon) else { return Self.deviceFolders }
            let root = try JSONText(parsing: bytes, path: Self.daemon, limit: DockerText.limit).root
            // An empty name switches devices off.
            return root["cdi-spec-dirs"]?.elements?.compactMap(\.string).filter { !$0.isEmpty } ?? Self.deviceFolders
        case .podman: return try podmanFolders(key, standard: Self.deviceFolders)
        case .nerdctl: return Self.strings(try document(Self.nerdctl)?.value(at: [key])) ?? Self.deviceFolders
        case .crio:
            var folders = Self.deviceFolders
            for path in try crioFiles() {
                folders = Self.strings(try document(path)?.value(at: ["crio", "runtime", key])) ?? folders
            }
            return folders
        case .containerd, .k3s:
            let documents = try containerdFiles()?.files.map(\.document) ?? []
            let lists = documents.flatMap { document in
                ContainerdText.Tables.all.compactMap { Self.strings(document.value(at: $0.plugin + [key])) }
            }
            return lists.last ?? Self.deviceFolders
        }
    }

    /// Returns the list that podman makes of a key in its files: each replaces the one before, or adds to it.
    private func podmanFolders(_ key: String, standard: [String]) throws(Failure) -> [String] {
        var folders = standard
        for path in try podmanFiles() {
            let value = try document(path)?.value(at: ["engine", key])
            guard case .array(let elements)? = value, let named = Self.strings(value) else { continue }
            let isAdded = elements.contains { element in
                if case .table(let entries) = element { entries["append"]?.value == .boolean(true) } else { false }
            }
            folders = isAdded ? folders + named : named
        }
        return folders
    }

    /// Returns the strings of an array; nil if it is none.
    private static func strings(_ value: Document.Value?) -> [String]? {
        guard case .array(let elements)? = value else { return nil }
        return elements.compactMap { if case .string(let text) = $0 { text } else { nil } }
    }
}

extension Installation {
    /// Returns the folders from which the engine reads devices of the Container Device Interface.
    public func deviceFolders() throws(Failure) -> [String] { try places.readDeviceFolders() }
}
