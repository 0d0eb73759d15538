import Glibc
import Platform
import Testing

@testable import Engines

// What becomes of files when an engine takes another way, or another program has changed them.
extension InstallationTests {
    @Test func `one way takes the other's place, and the default comes back`() throws {
        try prepare(.docker)
        try install(.docker, .runtime, isDefault: true)
        #expect(try text(Places.daemon)?.contains("\"default-runtime\": \"vtpm\"") ?? false)
        try install(.docker, .cdi)
        #expect(try text(Places.daemon)?.contains("vtpm-runtime") == false)
        #expect(try text(Places.daemon)?.contains("\"default-runtime\": \"nvidia\"") ?? false)
        try remove(.docker)
        #expect(try text(Places.daemon) == Fixture.docker && text(Places.device) == nil)
    }

    /// docker 28.2 has CDI on, so that the new way needs nothing in the file; so does one where somebody has switched it on.
    @Test(arguments: ["28.2.1", "26.1.5"]) func `a way that needs nothing takes the other's place`(
        version: String
    ) throws {
        let host = EngineHost(Self.layout, root: root, owner: geteuid()) { _ in "Docker version \(version)" }
        let before = "{\n  \"default-runtime\": \"nvidia\",\n  \"features\": {\"cdi\": true}\n}\n"
        try write(Places.daemon, before)
        let installation = Installation(of: .docker, on: host)
        try installation.perform(installation.installing(.runtime, isDefault: true))
        #expect(try text(Places.daemon)?.contains("\"default-runtime\": \"vtpm\"") ?? false)
        try installation.perform(installation.installing(.cdi, isDefault: false))
        #expect(try text(Places.daemon) == before && text(Places.device) != nil)
        try installation.perform(installation.removing())
        #expect(try text(Places.daemon) == before && text(Places.device) == nil)
    }

    @Test func `a device that two engines use stays when one takes another way`() throws {
        try install(.podman, .cdi)
        try install(.docker, .cdi)
        try install(.podman, .runtime)
        #expect(try text(Places.device) != nil)
        try remove(.podman)
        try remove(.docker)
        #expect(try text(Places.device) == nil)
    }

    @Test func `a device that two engines use stays for the other`() throws {
        try install(.podman, .cdi)
        try install(.nerdctl, .cdi)
        #expect(try remove(.podman).remarks == ["\(Places.device) stays, since nerdctl uses it too"])
        #expect(try text(Places.device) != nil)
        try remove(.nerdctl)
        #expect(try text(Places.device) == nil)
    }

    @Test func `a way that fails open is no engine's default`() {
        for engine in Engine.allCases { #expect(engine.ways.first?.failsClosed == true, "\(engine)") }
    }

    /// Containers that choose no runtime would else start without a TPM after a second install.
    @Test(arguments: [Engine.docker, .podman, .containerd, .crio])
    func `the default stays until it is taken back, and that is said`(engine: Engine) throws {
        try prepare(engine)
        let before = try tree()
        try install(engine, .runtime, isDefault: true)
        #expect(try Installation(of: engine, on: host).status().first { $0.way == "runtime" }?.isDefault == true)
        let after = try tree()
        let again = try install(engine, .runtime)
        #expect(again.changes.isEmpty && again.remarks.count == 1)
        #expect(again.remarks.first?.hasPrefix("ours stays \(engine.rawValue)'s default runtime") ?? false)
        #expect(try tree() == after && install(engine, .runtime, isDefault: true).remarks.isEmpty)
        // It stays when the programs have moved.
        let moved = EngineHost(ProgramLayout(programs: "/opt/vtpm"), root: root, owner: geteuid()) { _ in nil }
        try write("/opt/vtpm/vtpm-runtime", "", mode: 0o755)
        let installation = Installation(of: engine, on: moved)
        try installation.perform(installation.installing(.runtime, isDefault: false))
        #expect(try installation.status().first { $0.way == "runtime" }?.isDefault == true)
        try installation.perform(installation.removing())
        #expect(try tree().filter { !$0.hasPrefix("/opt") } == before)
        #expect(try install(engine, .runtime).remarks.isEmpty)
        #expect(try Installation(of: engine, on: host).status().first { $0.way == "runtime" }?.isDefault == false)
    }

    @Test func `a default that goes with its way is said to go`() throws {
        try prepare(.docker)
        try install(.docker, .runtime, isDefault: true)
        #expect(try install(.docker, .cdi).remarks == ["ours is no longer docker's default runtime"])
    }

    /// docker 28.2 has CDI on, and without a record nothing tells that its file was changed.
    @Test func `a default that stays is not said to go`() throws {
        let host = EngineHost(Self.layout, root: root, owner: geteuid()) { _ in "Docker version 28.2.1" }
        let installation = Installation(of: .docker, on: host)
        try installation.perform(installation.installing(.runtime, isDefault: true))
        try #require(unlink("\(root)\(EngineHost.records)/docker.json") == 0)
        let plan = try installation.installing(.cdi, isDefault: false)
        #expect(plan.changes.map(\.path) == [Places.device])
        #expect(plan.remarks.count == 1 && plan.remarks[0].hasPrefix("ours stays docker's default runtime"))
        try installation.perform(plan)
        try installation.perform(installation.removing())
        #expect(try !installation.isOursDefault() && text(Places.device) == nil)
    }

    /// Of the files of a folder the last one holds.
    @Test(arguments: [
        (Engine.podman, "/etc/containers/containers.conf.d", "zz.conf", "[engine]\nruntime = "),
        (.crio, "/etc/crio/crio.conf.d", "99-x.conf", "[crio.runtime]\ndefault_runtime = "),
    ]) func `a later file's default takes the place of ours`(
        engine: Engine,
        folder: String,
        late: String,
        key: String
    ) throws {
        try prepare(engine)
        try write("\(folder)/10.conf", "\(key)\"crun\"\n")
        try install(engine, .runtime, isDefault: true)
        #expect(try Installation(of: engine, on: host).status().first?.isInForce == true)
        try write("\(folder)/\(late)", "\(key)\"runc\"\n")
        let status = try #require(try Installation(of: engine, on: host).status().first)
        #expect(status.way == "runtime" && !status.isInForce && status.isDefault == true)
        let own = Places(engine: engine, host: host).unrecorded[0]
        let why = "\(folder)/\(late), which it reads after \(own), makes runc the default runtime (take that out, or "
        let wayOut = "vtpmctl engine remove \(engine.rawValue))"
        #expect(status.remarks.first == why + wayOut)
        #expect(self.why { try install(engine, .runtime) }.hasSuffix(why + wayOut))
        try remove(engine)
        let before = try tree()
        #expect(self.why { try install(engine, .runtime, isDefault: true) }.hasSuffix(why + "leave out --default)"))
        #expect(try tree() == before)
        try install(engine, .runtime)
        #expect(try Installation(of: engine, on: host).status().first?.isInForce == true)
        // One after that which names ours again.
        try write("\(folder)/zzz.conf", "\(key)\"vtpm\"\n")
        #expect(try install(engine, .runtime, isDefault: true).changes.count == 1)
    }

    @Test(arguments: [(Engine.podman, Way.cdi, 1), (.podman, .hooks, 2), (.docker, .cdi, 2)])
    func `the files of an installation elsewhere are replaced`(engine: Engine, way: Way, count: Int) throws {
        let old = "/usr/local/libexec/container-vtpm/vtpm-hook"
        try write(Places.device, HookFiles.cdi(hook: old))
        for (name, content) in HookFiles.folder(hook: old) { try write("\(Places.hooksFolder)/\(name)", content) }
        let paths = try install(engine, way).changes.map(\.path)
        #expect(paths.count == count)
        for path in paths where path != Places.daemon {
            #expect(try text(path)?.contains(Self.layout.hook) ?? false && text(path)?.contains("/local/") == false)
        }
        #expect(try install(engine, way).changes.isEmpty)
        // What leads to another program is not ours, whatever its name.
        try remove(engine)
        try write(Places.device, HookFiles.cdi(hook: "/opt/other"))
        if way == .cdi { #expect(why { try install(engine, .cdi) }.contains("it is not ours")) }
    }

    @Test func `what another program has written anew is not taken for removed`() throws {
        try write(Places.containerd, "version = 2\n")
        try install(.containerd)
        let marked = try #require(try text(Places.containerd))
        let bare = marked.split(separator: "\n").filter { !$0.contains("#") }.joined(separator: "\n") + "\n"
        try write(Places.containerd, bare)
        #expect(why { try remove(.containerd) }.contains("the comments around our entries are gone"))
        #expect(try text(Places.containerd) == bare)
        #expect(try host.record(of: .containerd) != nil)
    }

    @Test func `a file on one line is not shown whole`() throws {
        let secret = "user:secret@proxy/" + String(repeating: "x", count: 120)
        try write(Places.daemon, "{\"proxies\":{\"http-proxy\":\"\(secret)\"},\"debug\":true}\n")
        let lines = try #require(
            Installation(of: .docker, on: host).installing(.runtime, isDefault: false).changes.first
        ).lines
        #expect(!lines.contains { $0.contains("secret") })
        #expect(lines.contains { $0.hasPrefix("+…") && $0.contains("vtpm-runtime") })
    }
}
