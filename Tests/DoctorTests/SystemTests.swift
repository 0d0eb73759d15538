import Platform
import Testing

@testable import Doctor
@testable import OCIHook

@Suite struct SystemTests {
    let fixture: FixtureHost

    init() throws { fixture = try FixtureHost() }

    @Test func withoutRootTheFirstLineSaysSo() throws {
        fixture.host.user = 1000
        let report = try fixture.report("root")
        #expect(report.result == .problem)
        #expect(report.remedy == "sudo vtpmctl doctor")
        for id in ["master-key", "states", "worker"] { #expect(try fixture.report(id).result == .unknown) }
    }

    @Test func aUserNamespaceIsRefused() throws {
        try fixture.write("/proc/self/uid_map", "         0       1000          1\n")
        #expect(try fixture.report("user-namespace").refusesContainers)
    }

    @Test func aDaemonWithoutACapabilityIsRefused() throws {
        try fixture.write("/proc/71/status", "Name:\tdockerd\nCapBnd:\t000001fff7ffffff\n")
        let report = try fixture.report("privileges")
        #expect(report.refusesContainers)
        #expect(report.found == "dockerd lacks mknod")
    }

    @Test func aLimitCountsOnlyForThoseWhoCannotRaiseIt() throws {
        try fixture.write("/proc/71/limits", "Max locked memory   0   0   bytes\n")
        try fixture.write("/proc/71/status", "Name:\tcontainerd\nCapBnd:\t000001ffffffffff\n")
        #expect(try fixture.report("privileges").result == .ok)
        try fixture.write("/proc/71/status", "Name:\tcontainerd\nCapBnd:\t000001fffeffffff\n")
        #expect(
            try fixture.report("privileges").found
                == "containerd lacks sys_resource and may lock 0 bytes of memory"
        )
    }

    @Test func aSystemdThatCannotBeAskedIsRefused() throws {
        #expect(try fixture.report("systemd").found == "systemd 257.9-1~deb13u1")
        fixture.host.systemdVersion = { () throws(Failure) in
            throw Failure("cannot ask systemd", because: "no library", hint: "install it")
        }
        let report = try fixture.report("systemd")
        #expect(report.refusesContainers)
        #expect(report.remedy == "install it")
        try fixture.remove("/run/systemd")
        #expect(try fixture.report("systemd").found == "another init runs this host")
    }

    @Test func profilesThatAreNotLoadedAreNamedWithTheirCommand() throws {
        try fixture.write(
            "/sys/kernel/security/apparmor/profiles",
            "vtpm-ca (enforce)\nvtpm-supervisor (enforce)\nvtpm-systemd (enforce)\nvtpmctl (enforce)\n"
        )
        let report = try fixture.report("apparmor")
        #expect(report.found == "these profiles are not loaded: vtpm-hook, vtpm-worker")
        #expect(report.remedy?.hasSuffix("/etc/apparmor.d/vtpm-hook /etc/apparmor.d/vtpm-worker") ?? false)
        #expect(!report.refusesContainers)
    }

    @Test func profilesForAnotherFolderAreAProblem() throws {
        try fixture.write("/etc/apparmor.d/tunables/container-vtpm", "@{vtpm_programs} = /opt/vtpm\n")
        #expect(try fixture.report("apparmor").found.contains("are for programs in /opt/vtpm"))
    }

    @Test func aProfileThatIsSwitchedOffIsNoted() throws {
        try fixture.write("/sys/kernel/security/apparmor/profiles", "")
        try fixture.write("/etc/apparmor.d/disable/vtpm-hook", "")
        #expect(try fixture.report("apparmor").result == .note)
    }

    @Test func whatSELinuxDeniesIsToldWithTheRuleThatIsMissing() throws {
        let folder = "\(fixture.folder)/selinux"
        try fixture.write("/selinux/enforce", "1")
        try fixture.write("/selinux/class/chr_file/index", "10")
        for (number, name) in ["ioctl", "read", "write", "create", "getattr", "open"].enumerated() {
            try fixture.write("/selinux/class/chr_file/perms/\(name)", "\(number + 1)")
        }
        fixture.host.selinux = { () throws(Failure) in
            SELinuxPolicy(path: folder) { (_) throws(Failure) in Array("10 ffffffff 0 ffffffff 9 0".utf8) }
        }
        let report = try fixture.report("selinux")
        #expect(report.refusesContainers)
        #expect(report.remedy?.contains("allow container_t container_file_t:chr_file { open read write };") ?? false)
        try fixture.write("/selinux/enforce", "0")
        #expect(try fixture.report("selinux").result == .note)
    }

    @Test func aClockBeforeThisProgramIsAProblem() throws {
        fixture.host.clock = { (0, false) }
        #expect(try fixture.report("clock").result == .problem)
        fixture.host.clock = { (1_800_000_000, false) }
        #expect(try fixture.report("clock").result == .note)
    }
}
