import Testing

@testable import OCIHook

/// What is advised must be possible: the devices' numbers are known in the hook alone.
@Suite struct HintTests {
    @Test func `a cgroup of systemd's is avoided with the engine's own option`() {
        for words in ["--cgroup-manager=cgroupfs", "native.cgroupdriver=cgroupfs", "SystemdCgroup = false"] {
            #expect(DeviceAccess.systemdHint.contains(words))
        }
        #expect(DeviceAccess.systemdHint.contains("leave the hook out"))
        #expect(!DeviceAccess.systemdHint.contains("linux.resources"))
    }
}
