import Platform
import TOMLText

/// The files of an engine's that a way changes.
struct Places {
    let engine: Engine
    let host: EngineHost

    static let daemon = "/etc/docker/daemon.json"
    static let containerd = "/etc/containerd/config.toml"
    static let containerdDropIn = "/etc/containerd/conf.d/container-vtpm.toml"
    static let crio = "/etc/crio/crio.conf.d/50-container-vtpm.conf"
    static let podman = "/etc/containers/containers.conf.d/container-vtpm.conf"
    static let device = "/etc/cdi/\(HookFiles.device)"
    static let k3s = "/var/lib/rancher/k3s/agent/etc/containerd"
    static let templates = [2: "\(k3s)/config.toml.tmpl", 3: "\(k3s)/config-v3.toml.tmpl"]
    static let hooksFolder = "/usr/share/containers/oci/hooks.d"

    private var wrapper: String { host.layout.runtime }

    /// Returns the files of a way as they are to be, in the order in which they are written.
    func files(of way: Way, isDefault: Bool) throws(Failure) -> [(path: String, text: any EngineText)] {
        switch (engine, way) {
        case (.docker, .cdi): return [device] + (try dockerSwitch())
        case (_, .cdi): return [device]
        case (.docker, _):
            return [(Self.daemon, DockerText(path: Self.daemon, .runtime(wrapper, isDefault: isDefault)))]
        case (.podman, .hooks):
            let folder = try hooksFolder()
            return HookFiles.folder(hook: host.layout.hook).map { name, content in
                let path = "\(folder)/\(name)"
                return (path, OwnText(path: path, content: content, hook: host.layout.hook))
            }
        case (.podman, _):
            try requireFree(["engine", "runtimes"], in: try podmanFiles(), but: Self.podman)
            return [(Self.podman, DropInText.podman(path: Self.podman, wrapper: wrapper, isDefault: isDefault))]
        case (.crio, _):
            let files = try host.names(in: "/etc/crio/crio.conf.d", ending: "").map { "/etc/crio/crio.conf.d/\($0)" }
            try requireFree(["crio", "runtime", "runtimes"], in: ["/etc/crio/crio.conf"] + files, but: Self.crio)
            return [(Self.crio, DropInText.crio(path: Self.crio, wrapper: wrapper, isDefault: isDefault))]
        case (.containerd, _): return [try containerd(isDefault)]
        case (.k3s, _): return [try template()]
        case (.nerdctl, _): return []
        }
    }

    /// Returns how entries are taken out of a file; nil if it is none of the engine's.
    func remover(of path: String) -> (any EngineText)? {
        switch path {
        case Self.daemon: DockerText(path: path, .none)
        case Self.containerd: ContainerdText(path: path, wrapper: wrapper, isDefault: false, newVersion: 2)
        case Self.containerdDropIn:
            ContainerdText(path: path, wrapper: wrapper, isDefault: false, newVersion: 3, isDropIn: true)
        case Self.crio: DropInText.crio(path: path, wrapper: wrapper, isDefault: false)
        case Self.podman: DropInText.podman(path: path, wrapper: wrapper, isDefault: false)
        case Self.templates[2]: TemplateText(path: path, wrapper: wrapper, version: 2)
        case Self.templates[3]: TemplateText(path: path, wrapper: wrapper, version: 3)
        case let file where file.hasSuffix(".json"): OwnText(path: path, content: "", hook: host.layout.hook)
        default: nil
        }
    }

    /// The files that may have entries of ours where no record tells.
    var unrecorded: [String] {
        switch engine {
        case .docker: [Self.daemon]
        case .podman: [Self.podman]
        case .containerd: [Self.containerd, Self.containerdDropIn]
        case .crio: [Self.crio]
        case .k3s: Self.templates.values.sorted()
        case .nerdctl: []
        }
    }

    private var device: (path: String, text: any EngineText) {
        let content = HookFiles.cdi(hook: host.layout.hook)
        return (Self.device, OwnText(path: Self.device, content: content, hook: host.layout.hook))
    }

    /// docker has known CDI since 25, and looks for devices without being told since 28.2.
    private func dockerSwitch() throws(Failure) -> [(path: String, text: any EngineText)] {
        let version = host.version("dockerd").flatMap { VersionNumber(in: $0) }
        if let version, version < VersionNumber(25, 0) {
            throw Failure(
                "cannot configure docker",
                because: "docker \(version) does not know CDI",
                hint: "vtpmctl engine install docker --way runtime"
            )
        }
        let isOn = version.map { $0 >= VersionNumber(28, 2) } ?? false
        return [(Self.daemon, DockerText(path: Self.daemon, isOn ? .none : .cdi))]
    }

    private func podmanFiles() throws(Failure) -> [String] {
        let folder = "/etc/containers/containers.conf.d"
        return ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"]
            + (try host.names(in: folder, ending: ".conf").map { "\(folder)/\($0)" })
    }

    /// Returns the folder of hooks whose files take precedence, of those that podman reads. containers.conf(5)
    func hooksFolder() throws(Failure) -> String {
        var folders = [Self.hooksFolder]
        for path in try podmanFiles() {
            guard let document = try document(path), let value = document.value(at: ["engine", "hooks_dir"]),
                case .array(let elements) = value
            else { continue }
            let isAdded = elements.contains { element in
                if case .table(let entries) = element { entries["append"]?.value == .boolean(true) } else { false }
            }
            let named = elements.compactMap { if case .string(let folder) = $0 { folder } else { nil } }
            folders = isAdded ? folders + named : named
        }
        guard let folder = folders.last, folder.hasPrefix("/") else {
            throw Failure(
                "cannot configure podman",
                because: "it reads hooks from no folder",
                hint: "vtpmctl engine install podman --way runtime"
            )
        }
        return folder
    }

    private func document(_ path: String) throws(Failure) -> Document? {
        guard let file = try host.files.read(path) else { return nil }
        return try Document(parsing: file.bytes, path: path)
    }

    /// Throws if another file than ours has a runtime of our name.
    private func requireFree(_ runtimes: [String], in files: [String], but own: String) throws(Failure) {
        for path in files where path != own {
            guard let document = try document(path) else { continue }
            if document.value(at: runtimes + [ProgramLayout.runtimeName]) != nil { throw ContainerdText.foreign(path) }
        }
    }

    private func containerd(_ isDefault: Bool) throws(Failure) -> (path: String, text: any EngineText) {
        let version = host.version("containerd").flatMap { VersionNumber(in: $0) }
        let newVersion = version.map { $0 >= VersionNumber(2, 0) } ?? false ? 3 : 2
        let main = try document(Self.containerd)
        let isDropIn = main.map { ContainerdText.importsDropIns($0) } ?? false
        if isDropIn, let main {
            let tables = try ContainerdText.Tables(of: main, Self.containerd)
            guard main.value(at: tables.ours) == nil else { throw ContainerdText.foreign(Self.containerd) }
        }
        var systemdCgroup: Bool?
        if isDropIn, let main {
            let tables = try ContainerdText.Tables(of: main, Self.containerd)
            systemdCgroup = ContainerdText.systemdCgroup(of: main, tables)
        }
        let path = isDropIn ? Self.containerdDropIn : Self.containerd
        let text = ContainerdText(
            path: path,
            wrapper: wrapper,
            isDefault: isDefault,
            newVersion: isDropIn ? 3 : newVersion,
            isDropIn: isDropIn,
            systemdCgroup: systemdCgroup
        )
        return (path, text)
    }

    /// k3s takes the template for its containerd's version, which the file that it has written tells.
    private func template() throws(Failure) -> (path: String, text: any EngineText) {
        var version: Int?
        for candidate in [3, 2] where version == nil {
            if let path = Self.templates[candidate], try host.files.read(path) != nil { version = candidate }
        }
        if version == nil, case .integer(let written)? = try document("\(Self.k3s)/config.toml")?.value(at: ["version"])
        {
            version = written >= 3 ? 3 : 2
        }
        guard let version, let path = Self.templates[version] else {
            throw Failure(
                "cannot configure k3s",
                because: "\(Self.k3s)/config.toml is not there, which tells the version of its containerd",
                hint: "start k3s once"
            )
        }
        return (path, TemplateText(path: path, wrapper: wrapper, version: version))
    }
}
