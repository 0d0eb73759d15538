import Engines
import Platform

/// The engines and runtimes that are installed, and how each is told to call the hook.
enum Engines {
    /// The runtimes, which call the hook.
    static func runtimes(_ host: Host) throws(Failure) -> Finding {
        var found: [String] = []
        var note: String?
        for name in ["runc", "crun"] {
            guard let program = host.program(name) else { continue }
            let version = version(of: program, host)
            found.append([name, version?.description].compactMap { $0 }.joined(separator: " "))
            // crun, since systemd's cgroups have its program beside systemd's, and until it pins its program.
            if name == "crun", let version, version >= VersionNumber(1, 18), version < VersionNumber(1, 23) {
                note = "with crun \(version), `podman update` takes a container's TPM away"
            }
        }
        guard !found.isEmpty else { return .note("neither runc nor crun is installed") }
        guard let note else { return .ok(found.joined(separator: ", ")) }
        return .note("\(found.joined(separator: ", ")); \(note)", remedy: "after an update: vtpmctl grant CONTAINER")
    }

    /// podman.
    static func podman(_ host: Host) throws(Failure) -> Finding {
        guard host.program("podman") != nil else { return .ok("not installed") }
        let files =
            ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"]
            + (try host.files(in: ["/etc/containers/containers.conf.d"], ending: ".conf"))
        return try takingHooksFromDirectories(files, key: "hooks_dir", host)
    }

    /// CRI-O.
    static func crio(_ host: Host) throws(Failure) -> Finding {
        guard host.program("crio") != nil else { return .ok("not installed") }
        let files = ["/etc/crio/crio.conf"] + (try host.files(in: ["/etc/crio/crio.conf.d"], ending: ".conf"))
        return try takingHooksFromDirectories(files, key: "hooks_dir", host)
    }

    /// Returns the finding about an engine that reads `hooks.d`, and knows CDI.
    private static func takingHooksFromDirectories(
        _ files: [String],
        key: String,
        _ host: Host
    ) throws(Failure) -> Finding {
        var directories = [HookDirectories.standard]
        for file in files {
            guard let settings = try host.text(file).map(EngineSettings.init) else { continue }
            if let named = settings.values(of: key).last { directories = named }
        }
        if let finding = try HookDirectories.finding(directories, host) { return finding }
        if let device = try CDI.path(host) { return .ok("our device is in \(device)") }
        return .note("nothing tells it to call the hook", remedy: "\(CDI.install); or \(HookDirectories.install)")
    }

    /// nerdctl.
    static func nerdctl(_ host: Host) throws(Failure) -> Finding {
        guard host.program("nerdctl") != nil else { return .ok("not installed") }
        guard let device = try CDI.path(host) else {
            return .note("nothing tells it to call the hook", remedy: CDI.install)
        }
        return .ok("our device is in \(device)")
    }

    /// Returns the version that a program prints; nil if it does not.
    static func version(of program: String, _ host: Host) -> VersionNumber? {
        (try? host.output(program, ["--version"])).flatMap { VersionNumber(in: $0) }
    }
}
