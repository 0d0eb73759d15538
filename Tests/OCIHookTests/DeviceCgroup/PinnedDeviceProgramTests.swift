import CLinux
import Glibc
import Platform
import Testing

@testable import OCIHook

private let tpm = DeviceNumber(major: 253, minor: 65536)

/// What crun has pinned for systemd; a folder stands in for the BPF file system.
@Suite struct PinnedDeviceProgramTests {
    private let folder: ScratchFolder
    private let denying = RuntimeProgram.crun.program([])
    private let open = RuntimeProgram.crun.program([Rule(kind: .character, access: .all)])

    init() throws {
        folder = try ScratchFolder()
    }

    private var path: String { "\(folder.path)/box_scope" }

    private func apply(_ kernel: InMemoryBPF, path: String? = nil) throws {
        let directory = try Descriptor.open(folder.path, .directory)
        let fileSystem = try directory.fileSystemMagic(folder.path)
        try PinnedDeviceProgram(path: path ?? self.path, on: fileSystem)
            .apply(DeviceProgramPatcher(kernel: kernel, devices: [tpm]), to: 0)
    }

    private func pinned() throws -> String {
        String(decoding: try Descriptor.open(path, .read).readAll(limit: 16, path), as: UTF8.self)
    }

    @Test func `one program takes the old one's place in the cgroup and in the file system`() throws {
        try folder.write("box_scope", "2")
        // Of a hook that was killed.
        try folder.write("box_scope_vtpm", "1")
        let kernel = InMemoryBPF([open, denying])
        try apply(kernel)
        #expect(kernel.allows(tpm))
        #expect(kernel.fewest == 2)
        #expect(try pinned() == "\(kernel.attached[1])")
        #expect(kernel.attached[0] == 1)
        #expect(access("\(path)_vtpm", F_OK) == -1)
    }

    @Test func `a program that is not attached is replaced where it is pinned`() throws {
        try folder.write("box_scope", "2")
        let kernel = InMemoryBPF([open, denying]) { $0.attached = [1] }
        try apply(kernel)
        #expect(kernel.attached == [1])
        let program = try #require(UInt32(try pinned()))
        #expect(program > 2)
    }

    @Test func `a program that allows the device stays`() throws {
        try folder.write("box_scope", "1")
        let kernel = InMemoryBPF([open])
        try apply(kernel)
        #expect(kernel.calls.isEmpty)
        #expect(try pinned() == "1")
    }

    @Test func `a program that the kernel hides is an error that names the sysctl`() throws {
        try folder.write("box_scope", "1")
        let kernel = InMemoryBPF([[]])
        let failure = try #require(throws: Failure.self) { try apply(kernel) }
        #expect(failure.what == "cannot change the device filter that is pinned at \(path.excerpt)")
        #expect(failure.hint?.contains("net.core.bpf_jit_harden") == true)
        #expect(try pinned() == "1")
    }

    /// The devices must not be allowed before they stay so.
    @Test func `a program that cannot be replaced where it is pinned stays attached`() throws {
        try folder.write("box_scope", "1")
        let kernel = InMemoryBPF([denying]) { $0.attached = [1] }
        #expect(mkdir("\(path)_vtpm", 0o700) == 0)
        #expect(throws: Failure.self) { try apply(kernel) }
        #expect(kernel.attached == [1])
        #expect(try pinned() == "1")
    }

    @Test func `a program that cannot be replaced where it is attached is an error`() throws {
        try folder.write("box_scope", "1")
        let kernel = InMemoryBPF([denying]) { $0.linked = [1] }
        #expect(throws: Failure.self) { try apply(kernel) }
        #expect(access("\(path)_vtpm", F_OK) == -1)
    }

    @Test func `a directory that others can change is refused`() throws {
        try folder.write("box_scope", "1")
        #expect(chmod(folder.path, 0o777) == 0)
        let failure = try #require(throws: Failure.self) { try apply(InMemoryBPF([denying])) }
        #expect(failure.why == "another user could change it")
    }

    @Test func `a link in the path is not followed`() throws {
        try folder.write("box_scope", "1")
        #expect(symlink(folder.path, "\(folder.path)/link") == 0)
        let failure = try #require(throws: Failure.self) {
            try apply(InMemoryBPF([denying]), path: "\(folder.path)/link/box_scope")
        }
        #expect(failure.code == ENOTDIR)
    }

    @Test func `another file system than that of BPF is refused`() throws {
        try folder.write("box_scope", "1")
        let failure = try #require(throws: Failure.self) {
            try PinnedDeviceProgram(path: path)
                .apply(DeviceProgramPatcher(kernel: InMemoryBPF([denying]), devices: [tpm]), to: 0)
        }
        #expect(failure.why == "it is not on a BPF file system")
    }

    @Test(arguments: ["", "box_scope", "/", "/box_scope", "/a/", "/a/..", "a/b"])
    func `what is no path of a file in a directory is refused`(path: String) {
        #expect(throws: Failure.self) { try PinnedDeviceProgram(path: path) }
    }

    /// What the folder cannot show: that the kernel renames what is pinned, and permits the unfinished name.
    @Test(.enabled(if: Kernel.canFilter, "needs root, bpf(2) and a writable mount of cgroup version 2"))
    func `the kernel pins one program in the old one's place`() throws {
        #expect(mount("bpf", folder.path, "bpf", 0, "mode=0700") == 0)
        defer { umount2(folder.path, CInt(MNT_DETACH)) }
        let group = try ScratchGroup(in: #require(Kernel.unified), "vtpm-test-\(getpid())-pinned")
        let kernel = KernelBPF()
        let old = try kernel.load(denying)
        try kernel.pin(old, at: path)
        try kernel.attach(old.number, to: group.directory.number, flags: BPF_F_ALLOW_MULTI, replacing: nil)
        for _ in 0..<2 {
            try PinnedDeviceProgram(path: path)
                .apply(DeviceProgramPatcher(kernel: kernel, devices: [tpm]), to: group.directory.number)
            let pinned = try kernel.open(pinnedAt: path)
            #expect(try kernel.query(group.directory.number).programs == [kernel.identifier(of: pinned)])
            #expect(try group.programs() == [DeviceProgram(dumped: denying).allowing([tpm])])
            #expect(access("\(path)_vtpm", F_OK) == -1)
        }
    }
}
