import Glibc
import Platform
import Testing

@testable import Engines

// What other files that containerd imports make of our entries. cmd/containerd/server/config, of 1.6, 1.7 and 2
extension InstallationTests {
    private static let plugin2 = "[plugins.\"io.containerd.grpc.v1.cri\"]\n"
    private static let plugin3 = "[plugins.'io.containerd.cri.v1.runtime'.containerd"

    private func containerd(_ version: String?, _ engine: Engine = .containerd) -> Installation {
        let host = EngineHost(Self.layout, root: root, owner: geteuid()) { _ in version.map { "containerd \($0)" } }
        return Installation(of: engine, on: host)
    }

    private func expectRefused(_ version: String?, _ why: String, isDefault: Bool = false) throws {
        let before = try tree()
        #expect(
            self.why { _ = try containerd(version).installing(.runtime, isDefault: isDefault) }.contains(why),
            "containerd \(version ?? "of unknown version")"
        )
        #expect(try tree() == before)
    }

    /// Each is the pattern that a file has, and where the file that it finds is.
    @Test(arguments: [
        ("/etc/containerd/conf.d/*.toml", "/etc/containerd/conf.d/10.toml", "1.7.24"),
        ("conf.d/*.toml", "/etc/containerd/conf.d/10.toml", "1.7.24"),
        ("./x/../10.toml", "/etc/containerd/10.toml", "1.6.20"),
        ("/etc/*d/conf.d/[0-9]*.toml", "/etc/containerd/conf.d/.10.toml", "2.1.0"),
        ("*/10.toml", "/srv/10.toml", "1.6.20"),
        ("/opt/??.toml*", "/opt/10.toml", "1.7.24"), ("/opt/../srv//10.toml", "/srv/10.toml", "1.7.24"),
    ]) func `imports are found as containerd finds them`(pattern: String, path: String, version: String) throws {
        try write(path, "oom_score = 1\n")
        // What no pattern means.
        try write("/etc/containerd/conf.d/10.conf", "")
        try write(Places.containerd, "version = 2\nimports = [\"\(pattern)\"]\n")
        let number = VersionNumber(in: version)
        let files = try ContainerdFiles(from: Places.containerd, of: number, with: Places.containerd, on: host)
        let isFound = !pattern.contains("[0-9]")
        #expect(files.files.map(\.path) == [Places.containerd] + (isFound ? [path] : []))
    }

    @Test func `in containerd 1 a later file's table of the plugin takes the place of ours`() throws {
        let imported = "/etc/containerd/conf.d/99-other.toml"
        try write(Places.containerd, "version = 2\nimports = [\"conf.d/*.toml\"]\n")
        // Another plugin's table does not matter, nor does another's value in containerd 2, which merges.
        try write(imported, "version = 2\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"/x\"\n")
        let plan = try containerd("1.7.24").installing(.runtime, isDefault: false)
        try containerd("1.7.24").perform(plan)
        #expect(try containerd("1.7.24").status().first?.isInForce == true)
        // nvidia-ctk writes such a file.
        try write(imported, "version = 2\n" + Self.plugin2 + "sandbox_image = \"x\"\n")
        let status = try #require(try containerd("1.7.24").status().first)
        #expect(status.way == "runtime" && !status.isInForce)
        let why = "containerd 1 takes all of [plugins.\"io.containerd.grpc.v1.cri\"] from \(imported)"
        #expect(status.remarks.first?.hasPrefix(why) ?? false, "\(status.remarks)")
        #expect(try containerd("2.0.0").status().first?.isInForce == true)
        try containerd("1.7.24").perform(containerd("1.7.24").removing())
        for version in ["1.6.20", "1.7.24", nil] { try expectRefused(version, why) }
        _ = try containerd("2.0.0").installing(.runtime, isDefault: false)
    }

    @Test func `imports of imports count, and circles end`() throws {
        try write(Places.containerd, "version = 2\nimports = [\"a.toml\"]\n")
        try write("/etc/containerd/a.toml", "imports = [\"sub/b.toml\", \"config.toml\"]\n")
        try write("/etc/containerd/sub/b.toml", "imports = [\"c.toml\"]\n")
        try expectRefused("1.7.24", "/etc/containerd/sub/c.toml is not there, which another of its files imports")
        try write("/etc/containerd/sub/c.toml", Self.plugin2 + "sandbox_image = \"x\"\n")
        try expectRefused("1.7.24", "from /etc/containerd/sub/c.toml")
        try write("/etc/containerd/sub/c.toml", "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")
        let remark = "/etc/containerd/sub/c.toml disables the CRI plugin, which is what reads the entries"
        for isFirst in [true, false] {
            let plan = try containerd("1.7.24").installing(.runtime, isDefault: false)
            #expect(plan.remarks == [remark])
            #expect(plan.changes.isEmpty != isFirst)
            try containerd("1.7.24").perform(plan)
        }
        let status = try containerd("1.7.24").status().first
        #expect(status?.remarks.first == remark)
        try write("/etc/containerd/sub/c.toml", "disabled_plugins = [\n")
        #expect(try containerd("1.7.24").status().first?.isInForce == false)
    }

    @Test func `in containerd 2 another's runtime of our name, or a later default, is in the way`() throws {
        try write(Places.containerd, "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n")
        let early = "/etc/containerd/conf.d/99-nvidia.toml"
        let late = "/etc/containerd/conf.d/zz.toml"
        try write(early, "version = 3\n\(Self.plugin3)]\ndefault_runtime_name = \"nvidia\"\n")
        // What is read before ours does not hold against it.
        let plan = try containerd("2.1.0").installing(.runtime, isDefault: true)
        #expect(plan.changes.map(\.path) == [Places.containerdDropIn] && plan.remarks.isEmpty)
        let plugin = Self.plugin2.replacing("]", with: ".containerd]")
        try write(late, "version = 2\n\(plugin)default_runtime_name = \"x\"\n")
        _ = try containerd("2.1.0").installing(.runtime, isDefault: false)
        try expectRefused("2.1.0", "\(late), which containerd reads after", isDefault: true)
        try write(late, "version = 3\n\(Self.plugin3).runtimes.vtpm]\nruntime_type = \"x\"\n")
        try expectRefused("2.1.0", "\(late) has a runtime \"vtpm\" of its own")
        try #require(unlink(root + late) == 0)
        // One that comes after the installation is shown.
        try containerd("2.1.0").perform(containerd("2.1.0").installing(.runtime, isDefault: true))
        #expect(try containerd("2.1.0").status().first?.isInForce == true)
        try write(late, "version = 3\n\(Self.plugin3)]\ndefault_runtime_name = \"x\"\n")
        let status = try containerd("2.1.0").status().first
        #expect(status?.isInForce == false && status?.isDefault == true)
        #expect(status?.remarks.first?.contains("makes x the default runtime") ?? false)
        // Nobody has given --default this time.
        let wayOut = "(take that out, or vtpmctl engine remove containerd)"
        #expect(status?.remarks.first?.hasSuffix(wayOut) ?? false)
        try expectRefused("2.1.0", wayOut)
        try expectRefused("2.1.0", "(take that out, or leave out --default)", isDefault: true)
    }

    @Test func `a drop-in that is imported no more is not in force`() throws {
        try write(Places.containerd, "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n")
        try containerd(nil).perform(containerd(nil).installing(.runtime, isDefault: false))
        #expect(try containerd(nil).status().first?.isInForce == true)
        try write(Places.containerd, "version = 3\n")
        let status = try containerd(nil).status().first
        #expect(status?.way == "runtime" && status?.isInForce == false)
        #expect(status?.remarks.first?.contains("does not have our entries any more") ?? false)
    }

    @Test func `SystemdCgroup is that of the default runtime after all files`() throws {
        try write(
            Places.containerd,
            "version = 3\nimports = [\"*.conf\"]\n\(Self.plugin3).runtimes.runc.options]\nSystemdCgroup = false\n"
        )
        try write("/etc/containerd/1.conf", "version = 3\n\(Self.plugin3)]\ndefault_runtime_name = \"nvidia\"\n")
        let options = Self.plugin2.replacing("]", with: ".containerd.runtimes.nvidia.options]")
        try write("/etc/containerd/2.conf", "version = 2\n\(options)SystemdCgroup = true\n")
        try containerd("2.1.0").perform(containerd("2.1.0").installing(.runtime, isDefault: false))
        #expect(try text(Places.containerd)?.contains("  SystemdCgroup = true\n# container-vtpm: end") ?? false)
    }

    @Test func `what k3s imports counts too`() throws {
        let folder = "\(Places.k3s)/config-v3.toml.d"
        try write("\(Places.k3s)/config.toml", "version = 3\nimports = [\"\(folder)/*.toml\"]\n")
        _ = try containerd(nil, .k3s).installing(.runtime, isDefault: false)
        try write("\(folder)/a.toml", "\(Self.plugin3).runtimes.vtpm]\nruntime_type = \"x\"\n")
        #expect(
            why { _ = try containerd(nil, .k3s).installing(.runtime, isDefault: false) }
                .contains("\(folder)/a.toml has a runtime \"vtpm\" of its own")
        )
    }
}
