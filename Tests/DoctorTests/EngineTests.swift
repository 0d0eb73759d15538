import Testing

@testable import Doctor

@Suite struct EngineTests {
    let fixture: FixtureHost
    private static let standard = "/usr/share/containers/oci/hooks.d"

    init() throws { fixture = try FixtureHost() }

    private func install(_ program: String, printing version: String? = nil) throws {
        try fixture.write("/usr/bin/\(program)", "", mode: 0o755)
        if let version { fixture.printed["/usr/bin/\(program) --version"] = version }
    }

    private func writeHook(_ directory: String, _ stage: String, told: String? = nil, path: String? = nil) throws {
        let path = path ?? "/usr/libexec/container-vtpm/vtpm-hook"
        let arguments = "[\"vtpm-hook\", \"\(told ?? stage)\"]"
        let hook = "{\"path\": \"\(path)\", \"args\": \(arguments), \"env\": [\"PATH=/bin\"], \"timeout\": 60}"
        let condition = "{\"annotations\": {\"^org\": \".*\"}}"
        try fixture.write(
            "\(directory)/vtpm-\(stage).json",
            "{\"version\": \"1.0.0\", \"hook\": \(hook), \"when\": \(condition), \"stages\": [\"\(stage)\"]}"
        )
    }

    private func writeDevice(_ stages: String..., name: String = "auto") throws {
        let hooks = stages.map { stage in
            """
            {"hookName": "\(stage)", "path": "/usr/libexec/container-vtpm/vtpm-hook", "args": ["vtpm-hook", "\(stage)"]}
            """
        }
        try fixture.write(
            "/etc/cdi/container-vtpm.json",
            """
            {"cdiVersion": "0.3.0", "kind": "container-vtpm.org/tpm", "devices": [
            {"name": "\(name)", "containerEdits": {"hooks": [\(hooks.joined(separator: ","))]}}]}
            """
        )
    }

    @Test func anEngineThatIsNotInstalledIsNoProblem() throws {
        for id in ["podman", "docker", "containerd", "cri-o", "nerdctl"] {
            #expect(try fixture.report(id).found == "not installed")
        }
    }

    @Test func podmanWithBothHooksIsWell() throws {
        try install("podman")
        #expect(try fixture.report("podman").found == "nothing tells it to call the hook")
        try writeHook(Self.standard, "createRuntime")
        try writeHook(Self.standard, "poststop")
        let report = try fixture.report("podman")
        #expect(report.result == .note && report.found.contains("way hooks: our hooks are in \(Self.standard)"))
        #expect(report.found.contains("whose hook is not called starts without one"))
    }

    @Test func theWrapperIsAWayThatFailsClosed() throws {
        let wrapper = "/usr/libexec/container-vtpm/vtpm-runtime"
        for program in ["podman", "dockerd", "containerd", "crio"] { try install(program) }
        try fixture.write("/etc/docker/daemon.json", "{\"runtimes\": {\"vtpm\": {\"path\": \"\(wrapper)\"}}}")
        try fixture.write(
            "/etc/containers/containers.conf.d/container-vtpm.conf",
            "[engine.runtimes]\nvtpm = [\"\(wrapper)\"]\n"
        )
        try fixture.write(
            "/etc/containerd/config.toml",
            "version = 2\n[plugins.x.runtimes.vtpm.options]\nBinaryName = \"\(wrapper)\"\n"
        )
        try fixture.write(
            "/etc/crio/crio.conf.d/50-container-vtpm.conf",
            "[crio.runtime.runtimes.vtpm]\nruntime_path = \"\(wrapper)\"\n"
        )
        let checks = ["podman", "docker", "containerd", "cri-o"]
        try fixture.remove(wrapper)
        for id in checks {
            let report = try fixture.report(id)
            #expect(report.result == .problem && report.found.contains("\(wrapper) is not there"), "\(report)")
        }
        try fixture.write(wrapper, "", mode: 0o755)
        for id in checks {
            let report = try fixture.report(id)
            #expect(report.result == .ok && report.found.contains("way runtime"), "\(report)")
            #expect(report.found.contains("fails closed"))
        }
    }

    @Test func aHookThatPodmanDoesNotReadIsAProblem() throws {
        try install("podman")
        try writeHook("/etc/containers/oci/hooks.d", "createRuntime")
        let report = try fixture.report("podman")
        #expect(report.result == .problem)
        #expect(report.remedy == "mv /etc/containers/oci/hooks.d/vtpm-createRuntime.json \(Self.standard)/")
        // Only what the operator has named is read then.
        try fixture.write(
            "/etc/containers/containers.conf",
            "[engine]\nhooks_dir = [\n  \"/etc/containers/oci/hooks.d\",\n]\n"
        )
        #expect(try fixture.report("podman").found.contains("it has no hook for poststop"))
        try writeHook("/etc/containers/oci/hooks.d", "poststop")
        #expect(try fixture.report("podman").result == .note)
    }

    @Test func aHookThatIsNotThereIsAProblemSincePodmanPassesItOver() throws {
        try install("podman")
        try writeHook(Self.standard, "createRuntime", path: "/opt/vtpm-hook")
        try writeHook(Self.standard, "poststop", path: "/opt/vtpm-hook")
        #expect(try fixture.report("podman").found.contains("its hook /opt/vtpm-hook is not there"))
    }

    @Test func aHookThatIsToldAnotherStageIsAProblem() throws {
        try install("podman")
        try writeHook(Self.standard, "createRuntime", told: "poststop")
        #expect(try fixture.report("podman").found.contains("is told poststop"))
    }

    @Test func hooksForBothCreatingStagesAreAProblem() throws {
        try install("podman")
        for stage in ["createRuntime", "prestart", "poststop"] { try writeHook(Self.standard, stage) }
        #expect(try fixture.report("podman").found.contains("both creating stages"))
    }

    @Test func othersHooksAreTheirs() throws {
        try install("podman")
        try fixture.write("\(Self.standard)/oci-nvidia-hook.json", "{\"version\": ")
        try writeHook(Self.standard, "prestart", path: "/usr/bin/nvidia-container-toolkit")
        #expect(try fixture.report("podman").found == "nothing tells it to call the hook")
    }

    @Test func aDeviceNeedsBothHooks() throws {
        try writeDevice("createRuntime")
        #expect(try fixture.report("cdi").found.contains("it has no hook for poststop"))
        try writeDevice("createRuntime", "poststop")
        #expect(try fixture.report("cdi").found.contains("--device container-vtpm.org/tpm=auto"))
    }

    @Test(
        arguments: [
            ("24.0.7", nil, "does not know CDI", Finding.Result.note),
            ("26.1.5+dfsg1", nil, "does not look for CDI devices", .problem),
            ("26.1.5+dfsg1", true, "--restart=always", .note),
            ("28.1.1", true, "--restart=always", .note),
            ("28.5.2", nil, "looks for CDI devices", .ok),
            ("28.5.2", false, "does not look for CDI devices", .problem),
        ] as [(String, Bool?, String, Finding.Result)]
    )
    func dockersVersionDecidesAboutDevices(version: String, isOn: Bool?, found: String, result: Finding.Result) throws {
        try install("dockerd")
        try install("docker", printing: "Docker version \(version), build a72d7cd\n")
        try writeDevice("createRuntime", "poststop")
        if let isOn {
            try fixture.write(
                "/etc/docker/daemon.json",
                "{\"features\": {\"cdi\": \(isOn), \"x\": 1}, \"log-level\": \"info\"}"
            )
        }
        let report = try fixture.report("docker")
        #expect(report.found.contains(found), "\(report)")
        #expect(report.result == result)
    }

    @Test func dockerWithoutOurDeviceIsToldHowToGetIt() throws {
        try install("dockerd")
        try install("docker", printing: "Docker version 28.5.2, build x\n")
        #expect(try fixture.report("docker").remedy == "vtpmctl engine install docker")
    }

    @Test func containerdsSpecificationIsLookedInto() throws {
        let hook = "{\"path\": \"/usr/libexec/container-vtpm/vtpm-hook\", \"args\": [\"vtpm-hook\", \"createRuntime\"]}"
        try fixture.write(
            "/etc/containerd/config.toml",
            "version = 2\n[plugins.x.runtimes.vtpm]\n  base_runtime_spec = \"/etc/containerd/vtpm.json\" # ours\n"
        )
        #expect(try fixture.report("containerd").found.contains("which is not there"))
        try fixture.write(
            "/etc/containerd/vtpm.json",
            "{\"ociVersion\": \"1.1.0\", \"hooks\": {\"createRuntime\": [\(hook)]}}"
        )
        #expect(try fixture.report("containerd").found.contains("it has no hook for poststop"))
    }

    @Test func aHandlerThatAnImportedFileReplacesHasNoEffect() throws {
        let wrapper = "/usr/libexec/container-vtpm/vtpm-runtime"
        try fixture.write(wrapper, "", mode: 0o755)
        try install("containerd", printing: "containerd github.com/containerd/containerd 1.7.24~ds1\n")
        let plugin = "[plugins.\"io.containerd.grpc.v1.cri\""
        try fixture.write(
            "/etc/containerd/config.toml",
            "version = 2\nimports = [\"conf.d/*.toml\"]\n\(plugin).containerd.runtimes.vtpm.options]\n"
                + "BinaryName = \"\(wrapper)\"\n"
        )
        #expect(try fixture.report("containerd").result == .ok)
        try fixture.write("/etc/containerd/conf.d/1.toml", "\(plugin)]\nsandbox_image = \"x\"\n")
        let report = try fixture.report("containerd")
        #expect(report.result == .problem && report.found.contains("has no effect: containerd 1 takes all of"))
        #expect(report.remedy == "vtpmctl engine show containerd")
    }

    @Test func aDropInThatContainerdDoesNotReadHasNoEffect() throws {
        let wrapper = "/usr/libexec/container-vtpm/vtpm-runtime"
        try fixture.write(wrapper, "", mode: 0o755)
        try fixture.write("/etc/containerd/config.toml", "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n")
        let table = "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.vtpm.options]\n"
        let file = "/etc/containerd/conf.d/container-vtpm.toml"
        try fixture.write(file, "version = 3\n\(table)BinaryName = \"\(wrapper)\"\n")
        #expect(try fixture.report("containerd").result == .ok)
        try fixture.write("/etc/containerd/config.toml", "version = 3\n")
        let report = try fixture.report("containerd")
        #expect(report.result == .problem && report.found.contains("containerd does not read \(file)"), "\(report)")
    }

    @Test func aDeviceThatAnEngineDoesNotReadIsNone() throws {
        try writeDevice("createRuntime", "poststop")
        for program in ["podman", "nerdctl", "dockerd"] { try install(program) }
        try install("docker", printing: "Docker version 28.5.2, build x\n")
        for id in ["podman", "nerdctl", "docker"] { #expect(try fixture.report(id).found.contains("way cdi"), "\(id)") }
        try fixture.write("/etc/containers/containers.conf", "[engine]\ncdi_spec_dirs = [\"/srv/cdi\"]\n")
        try fixture.write("/etc/nerdctl/nerdctl.toml", "cdi_spec_dirs = [\"/srv/cdi\"]\n")
        try fixture.write("/etc/docker/daemon.json", "{\"cdi-spec-dirs\": [\"/srv/cdi\"]}")
        for id in ["podman", "nerdctl", "docker"] {
            #expect(try fixture.report(id).found.contains("nothing tells it to call the hook"), "\(id)")
        }
    }

    @Test(
        arguments: [
            (nil, "/usr/sbin/runc, version 1.1.15", Finding.Result.ok), ("/usr/bin/crun", "/usr/bin/crun", .ok),
            ("/usr/bin/youki", "which is untested: tests run runc and crun", .note),
            ("/usr/bin/missing", "No such file or directory", .problem),
            ("/usr/bin/loose/runc", "another user could change", .problem),
            ("runc", "must be an absolute path", .problem),
            ("/usr/libexec/container-vtpm/vtpm-runtime", "is the wrapper itself", .problem),
        ] as [(String?, String, Finding.Result)]
    )
    func theRuntimeBehindTheWrapper(path: String?, found: String, result: Finding.Result) throws {
        try fixture.remove("/usr/libexec/container-vtpm/vtpm-runtime")
        #expect(try fixture.report("wrapper").found == "vtpm-runtime is not installed")
        let programs = ["sbin/runc", "bin/crun", "bin/youki", "libexec/container-vtpm/vtpm-runtime"]
        for program in programs { try fixture.write("/usr/\(program)", "", mode: 0o755) }
        try fixture.write("/usr/bin/loose/runc", "", mode: 0o777)
        fixture.printed["/usr/sbin/runc --version"] = "runc version 1.1.15+ds1\n"
        if let path { try fixture.write("/etc/container-vtpm/config.toml", "[runtime]\npath = \"\(path)\"\n") }
        let report = try fixture.report("wrapper")
        #expect(report.result == result && report.found.contains(found), "\(report)")
    }

    @Test func containerdsSwitchForDevicesDependsOnItsVersion() throws {
        try writeDevice("createRuntime", "poststop")
        try fixture.write("/etc/containerd/config.toml", "version = 2\n")
        #expect(try fixture.report("containerd").remedy?.contains("enable_cdi = true") ?? false)
        try fixture.write("/etc/containerd/config.toml", "version = 3\n")
        #expect(try fixture.report("containerd").result == .ok)
    }

    @Test(arguments: [("1.21", true), ("1.8.1", false), ("1.23", false)])
    func aCrunThatLosesGrantsIsNamed(version: String, isNamed: Bool) throws {
        try install("crun", printing: "crun version \(version)\ncommit: x\n")
        try install("runc", printing: "runc version 1.1.15+ds1\n")
        let report = try fixture.report("runtimes")
        #expect((report.result == .note) == isNamed)
        #expect(report.found.hasPrefix("runc 1.1.15, crun \(version)"))
    }
}
