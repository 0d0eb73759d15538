import Glibc
import Platform
import Testing

@testable import Engines

// Where engines look: the folders that their files name, and files that are links.
extension InstallationTests {
    @Test(arguments: [
        (Engine.docker, Places.daemon, #"{"cdi-spec-dirs": ["/run/cdi", "/srv/cdi"]}"#, "/srv/cdi"),
        (.docker, Places.daemon, #"{"cdi-spec-dirs": ["/srv/cdi", "/etc/cdi"]}"#, "/etc/cdi"),
        (.docker, Places.daemon, "{}", "/etc/cdi"),
        (.podman, "/etc/containers/containers.conf", "[engine]\ncdi_spec_dirs = [\"/srv/cdi\"]\n", "/srv/cdi"),
        (.podman, "/etc/containers/containers.conf", "[engine]\ncdi_spec_dirs = [\"/x\", {append=true}]\n", "/etc/cdi"),
        (.nerdctl, Places.nerdctl, "cdi_spec_dirs = [\"/srv/cdi\"]\n", "/srv/cdi"),
    ])
    func `the device goes where the engine reads it`(
        engine: Engine,
        path: String,
        text: String,
        folder: String
    ) throws {
        try write(path, text)
        let before = try tree()
        try install(engine, .cdi)
        #expect(try self.text("\(folder)/container-vtpm.json")?.contains(Self.layout.hook) ?? false)
        #expect(try install(engine, .cdi).changes.isEmpty)
        #expect(try Installation(of: engine, on: host).status().first { $0.way == "cdi" }?.isInForce == true)
        try remove(engine)
        #expect(try tree() == before)
    }

    @Test(arguments: [
        (Engine.docker, Places.daemon, #"{"cdi-spec-dirs": [""]}"#, "it reads devices from no folder"),
        (.docker, Places.daemon, #"{"cdi-spec-dirs": ["/run/cdi"]}"#, "from /run/cdi alone, which a boot empties"),
        (.podman, "/etc/containers/containers.conf", "[engine]\ncdi_spec_dirs = []\n", "reads devices from no folder"),
    ]) func `an engine that reads devices from no lasting folder gets none`(
        engine: Engine,
        path: String,
        text: String,
        why: String
    ) throws {
        try write(path, text)
        let before = try tree()
        #expect(self.why { try install(engine, .cdi) }.contains(why))
        #expect(try tree() == before)
    }

    /// Earlier versions have recorded the folder as the engine's file spells it.
    @Test(arguments: [false, true]) func `a folder is the same however it is spelled`(isOldRecord: Bool) throws {
        try write(Places.daemon, #"{"cdi-spec-dirs": ["/etc//cdi/"]}"#)
        try install(.podman, .cdi)
        try install(.docker, .cdi)
        if isOldRecord {
            let record = "\(EngineHost.records)/docker.json"
            let spelled = "/etc/cdi//container-vtpm.json"
            let old = try #require(try text(record)).replacing(Places.device, with: spelled)
            try write(record, old, mode: 0o600)
            #expect(try install(.docker, .cdi).changes.isEmpty)
            try write(record, old, mode: 0o600)
        }
        #expect(try remove(.podman).remarks == ["\(Places.device) stays, since docker uses it too"])
        #expect(try text(Places.device) != nil)
        try remove(.docker)
        #expect(try text(Places.device) == nil)
        try write("/etc/containers/containers.conf", "[engine]\nhooks_dir = [\"/etc/./hooks.d/\"]\n")
        #expect(try Places(engine: .podman, host: host).hooksFolder() == "/etc/hooks.d")
    }

    @Test func `the folders of devices of engines that read many files`() throws {
        try write("/etc/crio/crio.conf", "[crio.runtime]\ncdi_spec_dirs = [\"/a\"]\n")
        #expect(try Installation(of: .crio, on: host).deviceFolders() == ["/a"])
        try write("/etc/crio/crio.conf.d/1", "[crio.runtime]\ncdi_spec_dirs = [\"/b\"]\n")
        #expect(try Installation(of: .crio, on: host).deviceFolders() == ["/b"])
        #expect(try Installation(of: .containerd, on: host).deviceFolders() == Places.deviceFolders)
        let plugin = "[plugins.\"io.containerd.cri.v1.runtime\"]\n"
        try write(Places.containerd, "version = 3\n\(plugin)cdi_spec_dirs = [\"/c\"]\n")
        #expect(try Installation(of: .containerd, on: host).deviceFolders() == ["/c"])
    }

    /// podman follows a link to a file that somebody keeps elsewhere; what is only looked at is read as podman reads it.
    @Test func `a link to what is only looked at is followed`() throws {
        try write("/srv/containers.conf", "[engine]\nhooks_dir = [\"/srv/hooks\"]\n", mode: 0o664)
        try write("/etc/containers/x", "")
        try #require(symlink("../../srv/containers.conf", root + "/etc/containers/containers.conf") == 0)
        #expect(try Places(engine: .podman, host: host).hooksFolder() == "/srv/hooks")
        try install(.podman, .hooks)
        #expect(try text("/srv/hooks/container-vtpm-create.json") != nil)
        try remove(.podman)
        // The same for containerd's own file, where the entries go into another one.
        try write("/srv/config.toml", "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n")
        try write("/etc/containerd/x", "")
        try #require(symlink("../../srv/config.toml", root + Places.containerd) == 0)
        try install(.containerd)
        #expect(try Installation(of: .containerd, on: host).status().first?.isInForce == true)
        #expect(try remove(.containerd).changes.map(\.path) == [Places.containerdDropIn])
        // A pipe is not waited for.
        try #require(unlink(root + "/srv/containers.conf") == 0 && mkfifo(root + "/srv/containers.conf", 0o600) == 0)
        #expect(why { try install(.podman, .hooks) }.contains("it is no regular file"))
    }
}
