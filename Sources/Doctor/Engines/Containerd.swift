import Engines
import Platform

/// containerd, its own and that of k3s and RKE2.
enum Containerd {
    /// A container's specification, as far as it matters. runtime-spec, config.md
    private struct Specification: Decodable {
        let hooks: [String: [HookEntry]]?
    }

    private static let files = [
        "/etc/containerd/config.toml", "/etc/containerd/conf.d/container-vtpm.toml",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    ]

    /// Whether containerd can give a pod's containers the hook.
    static func check(_ host: Host) throws(Failure) -> Finding {
        let present = files.filter { host.exists($0) }
        guard host.program("containerd") != nil || !present.isEmpty else { return .ok("not installed") }
        for file in present {
            if let finding = try look(into: file, host) { return finding }
        }
        let what = present.isEmpty ? "it has no configuration file" : present.joined(separator: ", ")
        return .note(
            "\(what): nothing tells it to call the hook for containers of Kubernetes",
            remedy: "vtpmctl engine install containerd"
        )
    }

    /// Returns a finding if this file leads to our hook, or is meant to.
    private static func look(into path: String, _ host: Host) throws(Failure) -> Finding? {
        let settings = EngineSettings(try host.text(path) ?? "")
        if let program = settings.wrapper(of: "BinaryName") {
            let engine = path.contains("rancher") ? Engine.k3s : .containerd
            return Engines.wrapper(program, "a handler in", path, engine: engine, host)
        }
        for file in settings.values(of: "base_runtime_spec").compactMap({ $0.first }) where !file.isEmpty {
            guard let specification = try host.json(file, as: Specification.self) else {
                return .problem("\(path) names \(file), which is not there", remedy: "make \(file), or take it out")
            }
            var carrier = HookCarrier()
            for (stage, hooks) in specification.hooks ?? [:] { for hook in hooks { carrier.add(hook, in: stage) } }
            if carrier.isEmpty { continue }
            guard let flaw = carrier.flaw(host) else {
                return .ok("way base-spec: our hooks are in \(file), which \(path) names; it fails closed")
            }
            return .problem(
                "\(file): \(flaw)",
                remedy: "add them with merge.jq, as docs/configuration.md says, and restart containerd"
            )
        }
        guard let device = try CDI.path(host, of: .containerd) else { return nil }
        // containerd 2 looks for CDI devices by itself; version 3 is its form of the file.
        let isOn = settings.value(of: "enable_cdi") ?? (settings.value(of: "version") == "3" ? "true" : "false")
        guard isOn == "true" else {
            return .note(
                "our device is in \(device), and \(path) does not switch CDI on",
                remedy: "set enable_cdi = true in \(path), and restart containerd"
            )
        }
        return .ok("way cdi: our device is in \(device), and \(path) has CDI on; \(Way.cdi.promise)")
    }
}
