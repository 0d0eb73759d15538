import Glibc
import Platform
import Testing

@testable import OCIHook

private func path(_ text: String) throws -> CgroupPath { try #require(CgroupPath(text.utf8)) }

@Suite struct CgroupTests {
    @Test func `memberships of both versions`() throws {
        let text = "9:name=systemd:/\n5:devices:/docker/ab:c\n4:cpu,cpuacct:/x\n0::/system.slice/a b\n"
        let memberships = try CgroupMembership.parse(Array(text.utf8))
        #expect(memberships.map(\.controllers) == [["name=systemd"], ["devices"], ["cpu", "cpuacct"], []])
        #expect(memberships.map(\.isUnified) == [false, false, false, true])
        #expect(memberships.map { $0.path?.description } == ["/", "/docker/ab:c", "/x", "/system.slice/a b"])
    }

    @Test(arguments: ["0::/../other", "0::/..", "0::/a/../b", "0::/a/./b", "0::/a\0b"])
    func `a path that leads elsewhere is none`(line: String) throws {
        #expect(try CgroupMembership.parse(Array(line.utf8)).map(\.path) == [nil])
    }

    @Test(arguments: ["0", "0:", "0::", "0::relative", "x::/a", "-1::/a", ":::", "0:/a", "99999999999999999999::/"])
    func `a line of another form is an error`(line: String) {
        #expect(throws: Failure.self) { try CgroupMembership.parse(Array("0::/\n\(line)\n".utf8)) }
    }

    @Test func `bytes that are no UTF-8 are an error`() {
        #expect(throws: Failure.self) { try CgroupMembership.parse(Array("0::/a".utf8) + [0xff]) }
    }

    /// Characters that a Swift string would merge with the separator before them.
    @Test func `separators are bytes`() throws {
        let text = "0::/a/\u{301}b\r\n5:\u{301}devices:/c\n"
        let memberships = try CgroupMembership.parse(Array(text.utf8))
        #expect(memberships.count == 2)
        #expect(memberships[0].path?.names.map { String(decoding: $0, as: UTF8.self) } == ["a", "\u{301}b\r"])
        #expect(try path("/e\u{301}") != path("/\u{e9}"))
    }

    @Test func `mounts of control groups among others`() throws {
        let text = """
            31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
            36 31 0:33 / /sys/fs/cgroup/devices rw,relatime shared:9 master:1 - cgroup cgroup rw,devices
            41 31 0:38 /system.slice /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw,nsdelegate
            42 31 0:38 /../.. /outside rw - cgroup2 cgroup2 rw
            43 31 0:39 / /- rw - fuse.cgroup2 cgroup2 rw
            """
        let mounts = CgroupMount.parse(Array(text.utf8))
        #expect(mounts.map(\.type) == ["cgroup", "cgroup2", "cgroup2"])
        #expect(mounts.map(\.mountPoint) == ["/sys/fs/cgroup/devices", "/mnt/a b\\c", "/outside"])
        #expect(mounts.map { $0.root?.description } == ["/", "/system.slice", nil])
        #expect(mounts.map(\.options) == [["rw", "devices"], ["rw", "nsdelegate"], ["rw"]])
    }

    @Test(arguments: [
        "", "-", "- - - -", "1 2 0:3 / /a rw", "1 2 0:3 / /a rw -", "1 2 0:3 / /a rw - cgroup2",
        "1 2 0:3 / a rw - cgroup2 x rw",
        "1 2 0:3 / /a rw shared:1 cgroup2 cgroup2 rw", "1 2 0:3 / /a\\04 rw - cgroup2 x rw",
        "1 2 0:3 / /a\\ rw - cgroup2 x rw",
        "1 2 0:3 / /a\\+10 rw - cgroup2 x rw", "1 2 0:3 / /a\\000 rw - cgroup2 x rw",
        "1 2 0:3 / /a\\777 rw - cgroup2 x rw",
    ])
    func `a mount of another form is passed over`(line: String) {
        #expect(CgroupMount.parse(Array(line.utf8)).isEmpty)
    }

    @Test func `the group is found below the mount that shows it`() throws {
        let mounts = CgroupMount.parse(
            Array("1 2 0:3 /other /a rw - cgroup2 x rw\n1 2 0:3 /slice /b rw - cgroup2 x rw\n".utf8)
        )
        let container = try CgroupMembership.parse(Array("0::/slice/box/leaf".utf8))
        let hook = try CgroupMembership.parse(Array("0::/elsewhere".utf8))
        let found = try #require(try Cgroups.location(of: .unified, container, hook, mounts))
        #expect(found.map(\.mount.mountPoint) == ["/b"])
        #expect(found.map(\.leaf.description) == ["/box/leaf"])
        #expect(found.map(\.hook) == [nil])
        #expect(try Cgroups.location(of: .legacyDevices, container, hook, mounts) == nil)
    }

    @Test func `what cannot be found is an error`() throws {
        let outside = try CgroupMembership.parse(Array("0::/../box".utf8))
        let inside = try CgroupMembership.parse(Array("0::/box".utf8))
        let root = try CgroupMembership.parse(Array("0::/".utf8))
        let failure = try #require(throws: Failure.self) {
            try Cgroups.location(of: .unified, outside, root, [])
        }
        #expect(failure.remedy?.contains("cgroup namespace") == true)
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
        (
            "system.slice:runc:1", "/system.slice/runc-1.scope/container",
            ["/system.slice/runc-1.scope/container", "/system.slice/runc-1.scope"]
        ),
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
