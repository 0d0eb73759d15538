import Engines
import Platform
import RuntimeControl

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
        return try takingHooksFromDirectories(.podman, files, runtime: ProgramLayout.runtimeName, host)
    }

    /// CRI-O.
    static func crio(_ host: Host) throws(Failure) -> Finding {
        guard host.program("crio") != nil else { return .ok("not installed") }
        let files = ["/etc/crio/crio.conf"] + (try host.files(in: ["/etc/crio/crio.conf.d"], ending: ".conf"))
        return try takingHooksFromDirectories(.crio, files, runtime: "runtime_path", host)
    }

    /// Returns the finding about an engine that reads `hooks.d`, knows CDI, and has runtimes by a key of its files.
    private static func takingHooksFromDirectories(
        _ engine: Engine,
        _ files: [String],
        runtime key: String,
        _ host: Host
    ) throws(Failure) -> Finding {
        var directories = [HookDirectories.standard]
        var wrapper: (program: String, file: String)?
        for file in files {
            guard let settings = try host.text(file).map(EngineSettings.init) else { continue }
            if let named = settings.values(of: "hooks_dir").last { directories = named }
            if let program = settings.wrapper(of: key) { wrapper = (program, file) }
        }
        let hooks = try HookDirectories.finding(directories, host)
        if let hooks, hooks.result == .problem { return hooks }
        if let (program, file) = wrapper { return self.wrapper(program, "a runtime in", file, engine: engine, host) }
        if let hooks { return hooks }
        if let device = try CDI.path(host, of: engine) {
            return .ok("way cdi: our device is in \(device); \(Way.cdi.promise)")
        }
        return .note("nothing tells it to call the hook", remedy: "vtpmctl engine install \(engine.rawValue)")
    }

    /// Returns the finding about a runtime wrapper of ours that an engine's file names.
    static func wrapper(
        _ program: String,
        _ what: String,
        _ file: String,
        engine: Engine,
        _ host: Host
    ) -> Finding {
        let place = "\(what) \(file)"
        guard host.exists(program) else {
            return .problem("\(place): \(program) is not there", remedy: "vtpmctl engine install \(engine.rawValue)")
        }
        if let flaw = Installation(of: engine, on: host.forEngines(engine)).flawOfOtherFiles(than: file) {
            return .problem("\(place) has no effect: \(flaw)", remedy: "vtpmctl engine show \(engine.rawValue)")
        }
        return .ok("way runtime: \(place); \(Way.runtime.promise)")
    }

    /// nerdctl.
    static func nerdctl(_ host: Host) throws(Failure) -> Finding {
        guard host.program("nerdctl") != nil else { return .ok("not installed") }
        guard let device = try CDI.path(host, of: .nerdctl) else {
            return .note("nothing tells it to call the hook", remedy: "vtpmctl engine install nerdctl --way cdi")
        }
        return .ok("way cdi: our device is in \(device); \(Way.cdi.promise)")
    }

    /// Returns the version that a program prints; nil if it does not.
    static func version(of program: String, _ host: Host) -> VersionNumber? {
        (try? host.output(program, ["--version"])).flatMap { VersionNumber(in: $0) }
    }
}

extension Host {
    /// This host, as what configures an engine sees it.
    func forEngines(_ engine: Engine) -> EngineHost {
        // Only what containerd makes of its files depends on the version.
        let program = engine == .containerd ? program(engine.program) : nil
        let text = program.flatMap { try? output($0, ["--version"]) }
        return EngineHost(ProgramLayout(programs: withoutRoot(paths.programs)), root: root, owner: owner) { _ in text }
    }
}
