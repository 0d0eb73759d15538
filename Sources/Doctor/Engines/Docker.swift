import Engines
import Platform

/// docker.
enum Docker {
    /// The daemon's configuration, as far as it matters. dockerd(8)
    private struct Daemon: Decodable {
        struct Runtime: Decodable {
            let path: String?
        }

        /// A feature may be something else than true or false.
        struct Switch: Decodable {
            let isOn: Bool

            init(from decoder: any Decoder) throws {
                isOn = (try? decoder.singleValueContainer().decode(Bool.self)) ?? false
            }
        }

        let features: [String: Switch]?
        let runtimes: [String: Runtime]?
    }

    private static let path = "/etc/docker/daemon.json"

    /// The first version with CDI, and the first that has it switched on and starts such containers with the daemon.
    private static let (first, whole) = (VersionNumber(25, 0), VersionNumber(28, 2))

    /// Whether docker can give containers our device.
    static func check(_ host: Host) throws(Failure) -> Finding {
        guard host.program("dockerd") != nil else { return .ok("not installed") }
        let daemon: Daemon?
        do {
            daemon = try host.json(path, as: Daemon.self)
        } catch {
            return .problem("\(error.what): \(error.why)", remedy: "dockerd --validate --config-file \(path.shellWord)")
        }
        let wrappers = (daemon?.runtimes ?? [:]).mapValues { $0.path ?? "" }.filter { $0.value.contains("vtpm") }
        if let (name, program) = wrappers.min(by: { $0.key < $1.key }) {
            return Engines.wrapper(program, "its runtime \(name) in", path, engine: .docker, host)
        }
        let client = host.program("docker") ?? "/usr/bin/docker"
        guard let version = Engines.version(of: client, host) else {
            return .unknown("\(client) --version shows no version")
        }
        guard version >= first else {
            return .note("docker \(version) does not know CDI", remedy: "vtpmctl engine install docker")
        }
        guard try CDI.path(host, of: .docker) != nil else {
            return .note(
                "docker \(version): nothing tells it to call the hook",
                remedy: "vtpmctl engine install docker"
            )
        }
        let isOn = daemon?.features?["cdi"]?.isOn
        guard isOn ?? (version >= whole) else {
            return .problem(
                "docker \(version) does not look for CDI devices, and refuses --device container-vtpm.org/tpm=auto",
                remedy: "set \"features\": {\"cdi\": true} in \(path), and restart docker"
            )
        }
        guard version >= whole else {
            return .note(
                "docker \(version) does not start containers with our device and --restart=always with its daemon",
                remedy: "docker start, after a boot; or vtpmctl engine install docker, and --runtime vtpm"
            )
        }
        return .ok("way cdi: docker \(version) looks for CDI devices; \(Way.cdi.promise)")
    }
}
