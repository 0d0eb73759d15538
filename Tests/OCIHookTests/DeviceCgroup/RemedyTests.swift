import Testing

@testable import OCIHook

/// What is advised must be possible: the devices' numbers are known in the hook alone.
@Suite struct RemedyTests {
    @Test func `a cgroup of systemd's is avoided with the engine's own option`() {
        for words in ["--cgroup-manager=cgroupfs", "native.cgroupdriver=cgroupfs", "SystemdCgroup = false"] {
            #expect(DeviceAccess.systemdRemedy.contains(words))
        }
        #expect(DeviceAccess.systemdRemedy.contains("leave the hook out"))
        #expect(!DeviceAccess.systemdRemedy.contains("linux.resources"))
    }
}
