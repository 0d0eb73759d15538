import Engines
import Platform

/// A file of the Container Device Interface, as far as it matters. container-device-interface, SPEC.md
private struct CDIFile: Decodable {
    struct Edits: Decodable {
        struct Hook: Decodable {
            let hookName: String
            let path: String
            let args: [String]?
        }

        let hooks: [Hook]?
    }

    struct Device: Decodable {
        let name: String
        let containerEdits: Edits
    }

    let cdiVersion: String
    let kind: String
    let devices: [Device]
}

/// Our device in the Container Device Interface, which podman, docker, containerd and CRI-O know.
enum CDI {
    /// The directories that every engine reads unless it is told otherwise.
    static let directories = ["/etc/cdi", "/var/run/cdi"]
    private static let kind = "container-vtpm.org/tpm"
    /// The command that gives the engines our device.
    static let install =
        "install -m 0644 -D -t /etc/cdi /usr/share/container-vtpm/hooks/cdi/container-vtpm.json"

    /// Returns the path of the file with our device that an engine reads; nil if there is none.
    static func path(_ host: Host, of engine: Engine) throws(Failure) -> String? {
        try path(host, in: directories(of: engine, host))
    }

    private static func path(_ host: Host, in directories: [String]) throws(Failure) -> String? {
        for file in try host.files(in: directories, ending: ".json", ".yaml") {
            if try host.text(file)?.contains(kind) ?? false { return file }
        }
        return nil
    }

    /// A file of the engine's that cannot be read is another check's affair.
    private static func directories(of engine: Engine, _ host: Host) -> [String] {
        (try? Installation(of: engine, on: host.forEngines(engine)).deviceFolders()) ?? directories
    }

    /// The file with our device.
    static func check(_ host: Host) throws(Failure) -> Finding {
        var directories = directories
        for engine in Engine.allCases {
            directories += Self.directories(of: engine, host).filter { !directories.contains($0) }
        }
        guard let path = try path(host, in: directories) else {
            return .note("no file in \(directories.joined(separator: ", ")) has our device", remedy: install)
        }
        guard path.hasSuffix(".json") else { return .ok("\(path); it is in YAML, and was not looked into") }
        guard let file = try host.json(path, as: CDIFile.self) else { return .unknown("\(path) is gone") }
        guard file.kind == kind else { return .problem("\(path) is of the kind \(file.kind)", remedy: install) }
        // docker 26.1's client fails on a class of one character. docker/cli, opts/parser.go
        guard VersionNumber(in: file.cdiVersion).map({ $0 <= VersionNumber(1, 0) }) ?? false else {
            return .problem(
                "\(path) has the version \(file.cdiVersion), which older engines do not know",
                remedy: install
            )
        }
        for device in file.devices {
            var carrier = HookCarrier()
            for hook in device.containerEdits.hooks ?? [] {
                carrier.add(HookEntry(path: hook.path, args: hook.args), in: hook.hookName)
            }
            if let flaw = carrier.flaw(host) {
                return .problem("\(path), device \(device.name): \(flaw)", remedy: install)
            }
        }
        guard let device = file.devices.first else { return .problem("\(path) has no device", remedy: install) }
        return .ok("--device \(kind)=\(device.name), from \(path)")
    }
}
