import Testing

@testable import OCIHook

/// What is advised must be possible: the devices' numbers are known in the hook alone.
@Suite struct RemedyTests {
    @Test func `a cgroup of systemd's is avoided with the engine's own option`() {
        for words in ["--cgroup-manager=cgroupfs", "native.cgroupdriver=cgroupfs", "SystemdCgroup = false"] {
            #expect(DeviceCgroup.systemdRemedy.contains(words))
        }
        #expect(DeviceCgroup.systemdRemedy.contains("leave the hook out"))
        #expect(!DeviceCgroup.systemdRemedy.contains("linux.resources"))
    }
}
