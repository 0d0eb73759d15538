import Platform
import Testing

@testable import Doctor

@Suite struct KernelTests {
    let fixture: FixtureHost

    init() throws { fixture = try FixtureHost() }

    private func expectRefusal(_ id: String, _ found: String, _ remedy: String) throws {
        let report = try fixture.report(id)
        #expect(report.refusesContainers)
        #expect(report.found.contains(found), "\(report)")
        #expect(report.remedy?.contains(remedy) ?? false, "\(report)")
    }

    private func withoutProxy() throws {
        try fixture.remove("/dev/vtpmx")
        try fixture.remove("/sys/class/misc/vtpmx")
        let modules = "kernel/drivers/char/tpm/tpm_vtpm_proxy.ko.xz:\n"
        try fixture.write("/lib/modules/6.12.48+deb13-amd64/modules.dep", modules)
        try fixture.write("/sbin/modprobe", "", mode: 0o755)
    }

    @Test(arguments: ["5.4.0-100-generic", "5.8.18", "4.19.0"]) func anOldKernelIsRefused(release: String) throws {
        try fixture.write("/proc/sys/kernel/osrelease", "\(release)\n")
        try expectRefusal("kernel", release, "install a newer kernel")
    }

    @Test func aKernelWithoutFiltersForDevicesIsRefused() throws {
        try fixture.write("/boot/config-6.12.48+deb13-amd64", "CONFIG_BPF_SYSCALL=y\nCONFIG_SECCOMP_FILTER=y\n")
        try expectRefusal("kernel-features", "CONFIG_CGROUP_BPF", "kernel")
    }

    @Test func aModuleThatTheHookWillLoadIsNoProblem() throws {
        try withoutProxy()
        let report = try fixture.report("vtpm-proxy")
        #expect(report.result == .ok)
        #expect(report.found.contains("the hook loads it"))
    }

    @Test func aKernelWithoutTheModuleIsRefused() throws {
        try withoutProxy()
        try fixture.write("/lib/modules/6.12.48+deb13-amd64/modules.dep", "kernel/fs/ext4/ext4.ko:\n")
        try expectRefusal("vtpm-proxy", "no module tpm_vtpm_proxy", "CONFIG_TCG_VTPM_PROXY")
    }

    @Test func aKernelWhoseModulesAreGoneIsRefused() throws {
        try withoutProxy()
        try fixture.remove("/lib/modules/6.12.48+deb13-amd64")
        try expectRefusal("vtpm-proxy", "the kernel was upgraded", "boot")
    }

    @Test func lockedModulesAreRefused() throws {
        try withoutProxy()
        try fixture.write("/proc/sys/kernel/modules_disabled", "1\n")
        try expectRefusal("vtpm-proxy", "kernel.modules_disabled is 1", "/etc/modules-load.d")
    }

    @Test func aCommandInPlaceOfTheModuleIsRefused() throws {
        try withoutProxy()
        try fixture.write("/etc/modprobe.d/cis.conf", "# install tpm_vtpm_proxy /bin/true\nblacklist tpm_vtpm_proxy\n")
        #expect(try fixture.report("vtpm-proxy").result == .ok)
        try fixture.write("/etc/modprobe.d/cis.conf", "install tpm-vtpm-proxy /bin/false\n")
        try expectRefusal("vtpm-proxy", "/etc/modprobe.d/cis.conf", "take the line")
    }

    @Test func aNodeThatOthersMayOpenIsAProblemAndNoRefusal() throws {
        try fixture.write("/dev/vtpmx", "", mode: 0o666)
        let report = try fixture.report("vtpmx-node")
        #expect(report.result == .problem)
        #expect(!report.refusesContainers)
        #expect(report.remedy == "chown root:root /dev/vtpmx && chmod 0600 /dev/vtpmx")
    }

    @Test func aNodeOfAnotherDeviceIsRefused() throws {
        fixture.host.device = { _ in DeviceNumber("10:99") }
        try expectRefusal("vtpmx-node", "the device 10:99", "udevadm trigger")
        fixture.host.device = { _ in nil }
        try expectRefusal("vtpmx-node", "is no device", "udevadm trigger")
    }

    @Test func theNextNumbersAreThoseAfterTheHostsOwnTPM() throws {
        let report = try fixture.report("tpm-numbers")
        #expect(report.found == "tpm0 of the host's own; the next vTPM is tpm1, 253:1 and 253:65537")
    }

    @Test func aHostWithoutATPMIsToldWhoseTheFirstWillBe() throws {
        try fixture.remove("/sys/class/tpm/tpm0")
        let report = try fixture.report("tpm-numbers")
        #expect(report.result == .note)
        #expect(report.found.contains("the next vTPM is tpm0, 10:224 and 253:65536"))
    }

    @Test func hiddenProgramsAreRefusedWhereProgramsDecide() throws {
        try fixture.write("/proc/sys/net/core/bpf_jit_harden", "2\n")
        try expectRefusal("bpf-hardening", "net.core.bpf_jit_harden is 2", "sysctl -w net.core.bpf_jit_harden=1")
        try fixture.write(
            "/proc/self/mountinfo",
            "31 23 0:27 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n"
        )
        #expect(try fixture.report("bpf-hardening").result == .note)
    }

    @Test func bothVersionsOfControlGroupsAreTold() throws {
        try fixture.write(
            "/proc/self/mountinfo",
            """
            30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
            31 23 0:27 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices

            """
        )
        try fixture.write("/proc/self/cgroup", "5:devices:/x\n0::/x\n")
        let expected = "version 1 at /sys/fs/cgroup/devices for devices, and version 2 at /sys/fs/cgroup/unified"
        #expect(try fixture.report("cgroups").found == expected)
    }

    @Test func aMissingBarrierIsTold() throws {
        try fixture.write("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
        let report = try fixture.report("cgroups")
        #expect(report.result == .note)
        #expect(report.found.contains("without nsdelegate"))
    }

    @Test(arguments: [
        ("0::/../x\n", "outside of its own control group namespace"),
        ("5:devices:/x\n0::/\n", "version 1 is in use, and not mounted"),
    ]) func controlGroupsThatTheHookCannotSeeAreRefused(text: String, found: String) throws {
        try fixture.write("/proc/self/cgroup", text)
        try expectRefusal("cgroups", found, "")
    }
}
