import Glibc
import Platform
import Testing

@testable import OCIHook

private func path(_ text: String) throws -> CgroupPath { try #require(CgroupPath(text.utf8)) }

private func memberships(_ text: String) throws(Failure) -> [CgroupMembership] {
    try CgroupMembership.parse(Array(text.utf8), path: "/proc/1/cgroup")
}

private func mounts(_ text: String) throws(Failure) -> [CgroupMount] {
    CgroupMount.among(try MountInfo.parse(Array(text.utf8), path: "/proc/1/mountinfo"))
}

@Suite struct CgroupTests {
    @Test(arguments: ["0::/../other", "0::/..", "0::/a/../b", "0::/a/./b", "0::/a\0b"])
    func `a path that leads elsewhere is none`(line: String) throws {
        #expect(try memberships(line).map { CgroupPath($0.path) } == [nil])
    }

    @Test func `paths are compared byte by byte`() throws {
        #expect(try path("/e\u{301}") != path("/\u{e9}"))
        #expect(try path("/a/\u{301}b\r").names.map { String(decoding: $0, as: UTF8.self) } == ["a", "\u{301}b\r"])
    }

    @Test func `the root of a namespace is what a path in it lacks`() throws {
        #expect(try path("/pod/box/a").removing(path("/a")) == path("/pod/box"))
        #expect(try path("/pod/box").removing(.root) == path("/pod/box"))
        #expect(try path("/pod/box").removing(path("/pod/box")) == .root)
        #expect(try path("/pod/box").removing(path("/pod")) == nil)
        #expect(try path("/box").removing(path("/pod/box")) == nil)
        #expect(try path("/pod").appending(path("/box")) == path("/pod/box"))
    }

    @Test func `mounts of control groups among others`() throws {
        let text = """
            31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
            36 31 0:33 / /sys/fs/cgroup/devices rw,relatime shared:9 master:1 - cgroup cgroup rw,devices
            41 31 0:38 /system.slice /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw,nsdelegate
            42 31 0:38 /../.. /outside rw - cgroup2 cgroup2 rw
            43 31 0:39 / /- rw - fuse.cgroup2 cgroup2 rw
            """
        let mounts = try mounts(text)
        #expect(mounts.map(\.type) == ["cgroup", "cgroup2", "cgroup2"])
        #expect(mounts.map(\.mountPoint) == ["/sys/fs/cgroup/devices", "/mnt/a b\\c", "/outside"])
        #expect(mounts.map { $0.root?.description } == ["/", "/system.slice", nil])
        #expect(mounts.map(\.options) == [["rw", "devices"], ["rw", "nsdelegate"], ["rw"]])
    }

    @Test(arguments: ["/ a", "/\\1 /a", "/ /a\\04", "/ /a\\000"])
    func `a mount whose place makes no sense is passed over`(fields: String) throws {
        #expect(try mounts("1 2 0:3 \(fields) rw - cgroup2 x rw").isEmpty)
    }

    @Test func `the group is found below the mount that shows it`() throws {
        let mounts = try mounts("1 2 0:3 /other /a rw - cgroup2 x rw\n1 2 0:3 /slice /b rw - cgroup2 x rw\n")
        let container = try memberships("0::/slice/box/leaf")
        let hook = try memberships("0::/elsewhere")
        let found = try #require(try Cgroups.location(of: .unified, container, hook, mounts))
        #expect(found.map(\.mount.mountPoint) == ["/b"])
        #expect(found.map(\.leaf.description) == ["/box/leaf"])
        #expect(found.map(\.hook) == [nil])
        #expect(try Cgroups.location(of: .legacyDevices, container, hook, mounts) == nil)
    }

    @Test func `what cannot be found is an error`() throws {
        let outside = try memberships("0::/../box")
        let inside = try memberships("0::/box")
        let root = try memberships("0::/")
        let failure = try #require(throws: Failure.self) {
            try Cgroups.location(of: .unified, outside, root, [])
        }
        #expect(failure.hint?.contains("cgroup namespace") == true)
        #expect(throws: Failure.self) { try Cgroups.location(of: .unified, inside, root, []) }
        #expect(try Cgroups.location(of: .unified, root, root, []) == nil)
    }
}

@Suite struct ContainerSubtreeTests {
    static let cases: [(String?, String, [String])] = [
        (nil, "/pod/box/leaf", ["/pod/box/leaf"]),
        ("", "/box", ["/box"]),
        ("/pod/box", "/pod/box/leaf", ["/pod/box/leaf", "/pod/box"]),
        ("/pod/box", "/pod/box", ["/pod/box"]),
        ("//pod/box/", "/pod/box", ["/pod/box"]),
        ("/box", "/pod/box", []),
        ("/pod/other", "/pod/box", []),
        ("/pod/box/leaf", "/pod/box", []),
        ("/a:b:c", "/a:b:c", ["/a:b:c"]),
        ("box", "/user/box/leaf", ["/user/box/leaf", "/user/box"]),
        ("pod/box", "/user/pod/box", ["/user/pod/box"]),
        ("ox", "/box", []),
        (nil, "/", []),
        ("/", "/box", []),
        ("//", "/box", []),
        ("/box", "/", []),
        ("system.slice:runc:1", "/system.slice/runc-1.scope/container", []),
    ]

    @Test(arguments: cases)
    func `the container's groups, from the leaf up`(cgroupsPath: String?, leaf: String, expected: [String]) throws {
        let levels = try ContainerSubtree(cgroupsPath: cgroupsPath).levels(from: path(leaf), hook: path("/hook"))
        #expect(levels.map(\.description) == expected)
    }

    @Test(arguments: ["/pod/box/leaf", "/pod/box", "/pod/box/leaf/below"])
    func `a group that the hook is in is not the container's`(hook: String) throws {
        let subtree = try ContainerSubtree(cgroupsPath: "/pod/box")
        #expect(try subtree.levels(from: path("/pod/box/leaf"), hook: path(hook)).isEmpty)
    }

    @Test(arguments: [
        (":runc:1", "runc-1.scope"), ("system.slice:libpod:ab", "libpod-ab.scope"), ("a.slice:x:b.slice", "b.slice"),
        ("user.slice::n", "n.scope"),
    ])
    func `the systemd form names a unit`(cgroupsPath: String, unit: String) throws {
        #expect(try ContainerSubtree(cgroupsPath: cgroupsPath) == .systemd(unit: unit))
    }

    @Test(arguments: ["/a/../b", "..", "./a", "a::", ":a:b/c", "a:../b:c", "/a\0b"])
    func `a path that cannot be the container's own is an error`(cgroupsPath: String) {
        #expect(throws: Failure.self) { try ContainerSubtree(cgroupsPath: cgroupsPath) }
    }

    /// CVE-2025-52881: what only looks like a cgroup would take any write.
    @Test func `an imitation of the cgroup file system is refused`() throws {
        for version in [CgroupHierarchy.Version.unified, .legacyDevices] {
            let mount = CgroupMount(type: "cgroup2", root: .root, mountPoint: "/tmp", options: [])
            let hierarchy = try CgroupHierarchy(version, mount, leaf: .root, hook: nil)
            let failure = try #require(throws: Failure.self) { _ = try hierarchy.open(.root) }
            #expect(failure.description == "cannot use /tmp: it is not on a file system of control groups")
            #expect(throws: Failure.self) { try hierarchy.check(processes: [getpid()]) }
        }
    }
}
