import Glibc
import Platform
import Testing

@testable import Engines

/// Installing on a host that is a folder: what is written, what comes back, and what is not touched.
@Suite final class InstallationTests {
    let root: String
    let host: EngineHost
    static let layout = ProgramLayout(programs: "/usr/libexec/container-vtpm")

    init() throws {
        var template = Array("/tmp/container-vtpm-engines.XXXXXX".utf8CString)
        let root = try #require(mkdtemp(&template).map { String(cString: $0) })
        self.root = root
        for folder in ["/var", "/var/lib", "/var/lib/container-vtpm"] { try #require(mkdir(root + folder, 0o755) == 0) }
        host = EngineHost(Self.layout, root: root, owner: geteuid()) { $0 == "dockerd" ? "Docker version 26.1.5" : nil }
        for program in [Self.layout.runtime, Self.layout.hook] { try write(program, "", mode: 0o755) }
    }

    deinit { _ = try? ProgramLaunch("/bin/rm", ["rm", "-rf", root]).start().wait() }

    func write(_ path: String, _ text: String, mode: mode_t = 0o644) throws {
        var partial = root
        for component in path.split(separator: "/").dropLast() {
            partial += "/\(component)"
            try #require(mkdir(partial, 0o755) == 0 || errno == EEXIST)
        }
        try Descriptor.open(root + path, OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600))
            .writeAll(Array(text.utf8), path)
        try #require(chmod(root + path, mode) == 0)
    }

    func text(_ path: String) throws -> String? {
        guard access(root + path, F_OK) == 0 else { return nil }
        let bytes = try Descriptor.open(root + path, .read).readAll(limit: 1 << 20, path)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// All files below the root but the records, with their modes.
    func tree() throws -> [String] {
        var found: [String] = []
        func walk(_ path: String) throws {
            for name in try entries(of: .open(root + path, .directory), path).sorted() {
                let entry = "\(path)/\(name)"
                guard entry != EngineHost.records else { continue }
                var status = stat()
                try #require(lstat(root + entry, &status) == 0)
                found.append("\(entry) \(String(status.st_mode, radix: 8))")
                if status.st_mode & S_IFMT == S_IFDIR { try walk(entry) }
            }
        }
        try walk("")
        return found
    }

    @discardableResult
    func install(_ engine: Engine, _ way: Way? = nil, isDefault: Bool = false) throws -> Plan {
        let installation = Installation(of: engine, on: host)
        let plan = try installation.installing(way ?? engine.ways[0], isDefault: isDefault)
        try installation.perform(plan)
        return plan
    }

    @discardableResult
    func remove(_ engine: Engine) throws -> Plan {
        let installation = Installation(of: engine, on: host)
        let plan = try installation.removing()
        try installation.perform(plan)
        return plan
    }

    func prepare(_ engine: Engine) throws {
        switch engine {
        case .docker: try write(Places.daemon, Fixture.docker, mode: 0o640)
        case .podman: try write("/usr/share/containers/containers.conf", Fixture.podmanDebian)
        case .containerd: try write(Places.containerd, Fixture.containerdDefault2, mode: 0o600)
        case .crio: try write("/etc/crio/crio.conf", Fixture.crio)
        case .k3s: try write("\(Places.k3s)/config-v3.toml.tmpl", Fixture.k3s)
        case .nerdctl: try write("/etc/hosts", "")
        }
    }

    static let ways = Engine.allCases.flatMap { engine in engine.ways.map { (engine, $0) } }

    @Test(arguments: ways)
    func `a second install changes nothing, and remove restores all`(engine: Engine, way: Way) throws {
        try prepare(engine)
        for path in [Places.daemon, Places.containerd] where access(root + path, F_OK) == 0 {
            // A group of its own, which only root may give.
            if geteuid() == 0 { try #require(chown(root + path, 0, 4) == 0) }
        }
        let before = try tree()
        let texts = try [Places.daemon, Places.containerd, "\(Places.k3s)/config-v3.toml.tmpl"].map(text)
        let plan = try install(engine, way)
        #expect(plan.changes.isEmpty == (engine == .nerdctl && way == .runtime))
        let after = try tree()
        #expect(try install(engine, way).changes.isEmpty)
        #expect(try tree() == after)
        let status = try Installation(of: engine, on: host).status()
        if !plan.changes.isEmpty {
            #expect(status.first?.way == way.rawValue && status.first?.failsClosed == (way != .hooks))
            #expect(status.first?.isInForce == true)
        }
        try remove(engine)
        #expect(try tree() == before)
        #expect(try [Places.daemon, Places.containerd, "\(Places.k3s)/config-v3.toml.tmpl"].map(text) == texts)
        #expect(try remove(engine).changes.isEmpty)
    }

    @Test func `a host without any file gets them, and loses them again`() throws {
        let before = try tree()
        for engine in [Engine.docker, .podman, .containerd, .crio] {
            try install(engine)
            #expect(try tree().count > before.count)
            try remove(engine)
            #expect(try tree() == before, "\(engine)")
        }
    }

    @Test func `a program that is not there is not configured`() throws {
        try #require(unlink(root + Self.layout.runtime) == 0)
        #expect(why { try install(.docker) }.contains("vtpm-runtime is not there"))
        try install(.docker, .cdi)
        try #require(unlink(root + Self.layout.hook) == 0)
        let status = try Installation(of: .docker, on: host).status().first
        #expect(status?.isInForce == false && status?.remarks.first?.contains("vtpm-hook is not there") ?? false)
    }

    @Test func `owner, mode and the record's contents`() throws {
        try prepare(.docker)
        if geteuid() == 0 { try #require(chown(root + Places.daemon, 0, 4) == 0) }
        try install(.docker)
        var status = stat()
        try #require(stat(root + Places.daemon, &status) == 0)
        #expect(status.st_mode & 0o7777 == 0o640)
        if geteuid() == 0 { #expect(status.st_gid == 4) }
        let record = "\(EngineHost.records)/docker.json"
        #expect(try text(record)?.contains("secret") == false)
        try #require(stat(root + record, &status) == 0)
        #expect(status.st_mode & 0o7777 == 0o600)
        #expect(try !tree().contains { $0.contains(".new") })
    }

    @Test func `what another has added stays`() throws {
        try prepare(.containerd)
        try install(.containerd)
        try write(Places.containerd, try #require(try text(Places.containerd)) + "[others]\na = 1\n", mode: 0o600)
        #expect(try install(.containerd).changes.isEmpty)
        try remove(.containerd)
        #expect(try text(Places.containerd) == Fixture.containerdDefault2 + "[others]\na = 1\n")
    }

    @Test func `files of the installation are used, and stay`() throws {
        for (name, content) in HookFiles.folder(hook: Self.layout.hook) {
            try write("\(Places.hooksFolder)/\(name)", content)
        }
        #expect(try install(.podman, .hooks).changes.isEmpty)
        let before = try tree()
        #expect(try remove(.podman).remarks.count == 2)
        #expect(try tree() == before)
    }

    @Test func `podman's hooks go where it reads them`() throws {
        let conf = "/etc/containers/containers.conf"
        try write(conf, "[engine]\nhooks_dir = [\"/a\", \"/etc/hooks.d\"]\n")
        #expect(try Places(engine: .podman, host: host).hooksFolder() == "/etc/hooks.d")
        try write("/etc/containers/containers.conf.d/10.conf", "[engine]\nhooks_dir = [\"/b\", {append=true}]\n")
        #expect(try Places(engine: .podman, host: host).hooksFolder() == "/b")
        try write(conf, "[engine]\nhooks_dir = []\n")
        try write("/etc/containers/containers.conf.d/10.conf", "")
        #expect(why { try install(.podman, .hooks) }.contains("it reads hooks from no folder"))
    }

    @Test func `containerd's drop-in folder is taken where the file imports it`() throws {
        let main = "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n"
        try write(Places.containerd, main)
        try install(.containerd, isDefault: true)
        #expect(try text(Places.containerd) == main)
        #expect(try text(Places.containerdDropIn)?.hasPrefix("version = 3\n") ?? false)
        try remove(.containerd)
        #expect(try text(Places.containerdDropIn) == nil)
        // The option is the node's own.
        for name in ["runc", "other"] {
            let runtimes = "[plugins.'io.containerd.cri.v1.runtime'.containerd"
            let options = "\(runtimes).runtimes.\(name).options]\nSystemdCgroup = true\n"
            let chosen = name == "runc" ? "" : "\(runtimes)]\ndefault_runtime_name = \"\(name)\"\n"
            try write(Places.containerd, main + chosen + options)
            try install(.containerd)
            #expect(try text(Places.containerdDropIn)?.contains("SystemdCgroup = true") ?? false, "\(name)")
            try remove(.containerd)
        }
        // Before version 3 what is imported replaces the whole plugin's configuration.
        try write(Places.containerd, main.replacing("version = 3", with: "version = 2"))
        try install(.containerd)
        #expect(try text(Places.containerdDropIn) == nil)
    }

    func why(_ body: () throws -> Void) -> String {
        (#expect(throws: Failure.self) { try body() })?.description ?? ""
    }

    @Test func `a link, another's folder, and a second name are refused`() throws {
        try write("/etc/other.json", "{}")
        try write("/etc/docker/x", "")
        try #require(symlink("../other.json", root + Places.daemon) == 0)
        #expect(why { try install(.docker) }.contains("daemon.json is a symbolic link"))
        try #require(unlink(root + Places.daemon) == 0)
        try #require(link(root + "/etc/other.json", root + Places.daemon) == 0)
        #expect(why { try install(.docker) }.contains("it has another name too"))
        try #require(unlink(root + Places.daemon) == 0)
        try #require(chmod(root + "/etc/docker", 0o775) == 0)
        #expect(why { try install(.docker) }.contains("the mode of /etc/docker is 0775"))
        try #require(chmod(root + "/etc/docker", 0o755) == 0)
        try write(Places.daemon, "{}", mode: 0o666)
        #expect(why { try install(.docker) }.contains("the mode of /etc/docker/daemon.json is 0666"))
        let stranger = EngineHost(Self.layout, root: root, owner: geteuid() + 1) { _ in nil }
        #expect(
            why { _ = try Installation(of: .docker, on: stranger).installing(.runtime, isDefault: false) }
                .contains("belongs to user")
        )
        try #require(rename(root + "/etc/docker", root + "/etc/d") == 0)
        try #require(symlink("d", root + "/etc/docker") == 0)
        #expect(why { try install(.docker) }.contains("/etc/docker is a symbolic link"))
        #expect(try text("/etc/other.json") == "{}")
    }

    @Test func `a change between the look and the write is refused`() throws {
        try prepare(.docker)
        let installation = Installation(of: .docker, on: host)
        let plan = try installation.installing(.runtime, isDefault: false)
        try write(Places.daemon, "{\"debug\": true}", mode: 0o640)
        #expect(why { try installation.perform(plan) }.contains("somebody else is changing it"))
        #expect(try text(Places.daemon) == "{\"debug\": true}")
        // The same for a file that was not there.
        let other = Installation(of: .crio, on: host)
        let new = try other.installing(.runtime, isDefault: false)
        try write(Places.crio, "x = 1\n")
        #expect(why { try other.perform(new) }.contains("somebody else is changing it"))
        #expect(try text(Places.crio) == "x = 1\n")
        #expect(try !tree().contains { $0.contains(".new") })
    }

    @Test func `another's runtime of our name is refused wherever it is`() throws {
        try write("/etc/crio/crio.conf", "[crio.runtime.runtimes.vtpm]\nruntime_path = \"/x\"\n")
        #expect(why { try install(.crio) }.contains("/etc/crio/crio.conf: it has a runtime \"vtpm\""))
        try write("/etc/containers/containers.conf", "[engine.runtimes]\nvtpm = [\"/x\"]\n")
        #expect(why { try install(.podman, .runtime) }.contains("it has a runtime \"vtpm\""))
    }

    @Test func `a file that is too large is refused`() throws {
        try write(Places.daemon, "{\"a\": \"" + String(repeating: "x", count: 1 << 20) + "\"}")
        #expect(why { try install(.docker) }.contains("it is larger than 1048576 bytes"))
    }

    @Test func `the lines that change are shown, and no others`() throws {
        try prepare(.docker)
        let plan = try Installation(of: .docker, on: host).installing(.runtime, isDefault: false)
        let lines = try #require(plan.changes.first).lines
        #expect(lines.prefix(2) == ["--- \(Places.daemon)", "+++ \(Places.daemon)"])
        #expect(lines.contains { $0.hasPrefix("+") && $0.contains("vtpm-runtime") })
        #expect(!lines.contains { $0.contains("secret") })
    }

    /// The files that an engine gets from vtpmctl are those of the folder `hooks`.
    @Test func `the files in JSON are the shipped ones`() throws {
        let hooks = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 } + "/hooks"
        let files = HookFiles.folder(hook: Self.layout.hook).map { ("hooks.d/\($0.name)", $0.content) }
        for (name, content) in files + [("cdi/container-vtpm.json", HookFiles.cdi(hook: Self.layout.hook))] {
            let shipped = try Descriptor.open("\(hooks)/\(name)", .read).readAll(limit: 1 << 16, name)
            #expect(content == String(decoding: shipped, as: UTF8.self))
        }
    }
}
