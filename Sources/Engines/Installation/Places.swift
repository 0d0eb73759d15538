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
    static let device = "\(deviceFolders[0])/\(HookFiles.device)"
    static let k3s = "/var/lib/rancher/k3s/agent/etc/containerd"
    static let templates = [2: "\(k3s)/config.toml.tmpl", 3: "\(k3s)/config-v3.toml.tmpl"]
    /// The folders of devices that engines read unless they are told otherwise. container-device-interface, SPEC.md
    static let deviceFolders = ["/etc/cdi", "/var/run/cdi"]
    static let nerdctl = "/etc/nerdctl/nerdctl.toml"
    static let hooksFolder = "/usr/share/containers/oci/hooks.d"

    private var wrapper: String { host.layout.runtime }

    /// Returns the files of a way as they are to be, in the order in which they are written.
    func files(of way: Way, isDefault: Bool) throws(Failure) -> [(path: String, text: any EngineText)] {
        switch (engine, way) {
        case (.docker, .cdi): return [try device()] + (try dockerSwitch())
        case (_, .cdi): return [try device()]
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
            try requireFree(["crio", "runtime", "runtimes"], in: try crioFiles(), but: Self.crio)
            return [(Self.crio, DropInText.crio(path: Self.crio, wrapper: wrapper, isDefault: isDefault))]
        case (.containerd, _): return [try containerd(isDefault: isDefault)]
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

    /// Parses a file that is only looked at.
    func document(_ path: String) throws(Failure) -> Document? {
        guard let bytes = try host.files.look(path) else { return nil }
        return try Document(parsing: bytes, path: path)
    }

    /// Throws if another file than ours has a runtime of our name.
    private func requireFree(_ runtimes: [String], in files: [String], but own: String) throws(Failure) {
        for path in files where path != own {
            guard let document = try document(path) else { continue }
            if document.value(at: runtimes + [ProgramLayout.runtimeName]) != nil { throw ContainerdText.foreign(path) }
        }
    }

    /// Returns why ours is not the default runtime of an engine that reads a folder in order; nil if it is.
    func laterDefault(wayOut: String) throws(Failure) -> Failure? {
        let files: [String]
        switch engine {
        case .podman: files = try podmanFiles()
        case .crio: files = try crioFiles()
        default: return nil
        }
        guard let own = unrecorded.first, let text = remover(of: own) as? DropInText,
            let folder = own.lastIndex(of: "/").map({ own[...$0] })
        else { return nil }
        var found: Failure?
        for path in files where path.hasPrefix(folder) && path > own {
            guard case .string(let other)? = try document(path)?.value(at: text.defaultKeys) else { continue }
            guard other != ProgramLayout.runtimeName else {
                found = nil
                continue
            }
            found = Failure(
                "cannot configure \(engine.rawValue)",
                because: "\(path), which it reads after \(own), makes \(other) the default runtime",
                hint: "take that out, or \(wayOut)"
            )
        }
        return found
    }

    /// k3s takes the template for its containerd's version, which the file that it has written tells.
    private func template() throws(Failure) -> (path: String, text: any EngineText) {
        var version: Int?
        for candidate in [3, 2] where version == nil {
            if let path = Self.templates[candidate], host.exists(path) { version = candidate }
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
