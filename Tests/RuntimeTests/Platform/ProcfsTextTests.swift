import CLinux
import Glibc
import Testing

@testable import Platform

/// What the kernel writes about processes, with names in it that a tenant has chosen.
@Suite struct ProcfsTextTests {
    private func mounts(_ text: String) throws(Failure) -> [MountInfo] {
        try MountInfo.parse(Array(text.utf8), path: "/proc/1/mountinfo")
    }

    private func cgroups(_ text: String) throws(Failure) -> [CgroupMembership] {
        try CgroupMembership.parse(Array(text.utf8), path: "/proc/1/cgroup")
    }

    @Test func everyFieldOfAMountIsRead() throws {
        let all = try mounts(
            """
            22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
            36 31 0:33 /a/.. /sys/fs/cgroup/devices rw shared:9 master:1 - cgroup cgroup rw,devices
            24 22 0:65536 / /mnt rw -  - \\040 rw,mode=755

            """
        )
        #expect(all.map(\.device) == [(254, 0), (0, 33), (0, 65536)].map { clinux_makedev($0.0, $0.1) })
        #expect(all.map { $0.root.map { String(decoding: $0, as: UTF8.self) } } == ["/", "/a/..", "/"])
        #expect(all.map(\.mountPoint) == ["/", "/sys/fs/cgroup/devices", "/mnt"])
        #expect(all.map(\.type) == ["ext4", "cgroup", ""])
        #expect(all.map(\.source) == ["/dev/vda", "cgroup", "-"])
        #expect(all.map(\.options) == [["rw"], ["rw", "devices"], ["\\040"]])
    }

    @Test(
        arguments: [
            ("/a\\040b\\011c\\012d\\134e\\043f", "/a b\tc\nd\\e#f"), ("/\\303\\244", "/\u{e4}"),
            ("/e\u{301}", "/e\u{301}"),
            ("/\\1234", "/S4"), ("", ""), ("/a\\04", nil), ("/a\\", nil), ("/a\\+10", nil), ("/a\\000", nil),
            ("/a\\777", nil), ("/a\\400", nil), ("/a\\089", nil), ("/a\0b", nil), ("/\\377", nil),
        ] as [(String, String?)]
    ) func octalEscapesAreUndone(field: String, expected: String?) throws {
        #expect(try mounts("1 2 0:3 / \(field) rw - tmpfs x rw").map(\.mountPoint) == [expected])
    }

    @Test(arguments: [
        "-", "- - - -", "1 2 0:3 / /a rw", "1 2 0:3 / /a rw -", "1 2 0:3 / /a rw - tmpfs", "1 2 0:3 / /a rw - tmpfs x",
        "1 2 0:3 / /a rw shared:1 tmpfs x rw", "1 2 0: / /a rw - tmpfs x rw", "1 2 3 / /a rw - tmpfs x rw",
        "1 2 a:b / /a rw - tmpfs x rw", "1 2 0:3:4 / /a rw - tmpfs x rw", "1 2 -1:3 / /a rw - tmpfs x rw",
    ]) func aMountThatIsNotWholeIsAnError(line: String) throws {
        let error = #expect(throws: Failure.self) { try mounts("1 2 0:3 / /a rw - tmpfs x rw\n\(line)\n") }
        #expect(error?.description == "cannot read /proc/1/mountinfo: a line of it is \"\(line)\"")
    }

    @Test func membershipsOfBothVersionsAreRead() throws {
        let all = try cgroups("9:name=systemd:/\n5:devices:/box/ab:c\n4:cpu,cpuacct:/x\n0::/system.slice/a b\n")
        #expect(all.map(\.controllers) == [["name=systemd"], ["devices"], ["cpu", "cpuacct"], []])
        #expect(all.map(\.isUnified) == [false, false, false, true])
        #expect(all.map(\.path) == ["/", "/box/ab:c", "/x", "/system.slice/a b"].map { Array($0.utf8) })
    }

    /// Characters that a Swift string would merge with the separator before them.
    @Test func separatorsAreBytes() throws {
        let all = try cgroups("0::/a/\u{301}b\r\n5:\u{301}devices:/c\n")
        #expect(all.map(\.path) == ["/a/\u{301}b\r", "/c"].map { Array($0.utf8) })
        let status = ProcessStatus(Array("Name:\t\u{301}a\r\nUmask:\t\u{301}\n".utf8))
        #expect(status["Name"] == "\u{301}a\r" && status["Umask"] == "\u{301}")
    }

    @Test(arguments: ["0", "0:", "0::", "0::relative", "x::/a", "-1::/a", ":::", "0:/a", "99999999999999999999::/"])
    func aMembershipThatIsNotWholeIsAnError(line: String) {
        #expect(throws: Failure.self) { try cgroups("0::/\n\(line)\n") }
    }

    @Test func aPathThatIsNotUTF8IsAnError() {
        #expect(throws: Failure.self) { try CgroupMembership.parse(Array("0::/a".utf8) + [0xff], path: "") }
    }

    @Test(
        arguments: [
            ("Uid", "0\t1\t2\t3"), ("Groups", ""), ("Name", "a: b"), ("VmLck", "12 kB"), ("Empty", ""), ("Cut", "1"),
            ("VmLc", nil), ("Vm", nil), ("NoColon", nil), ("", nil),
        ] as [(String, String?)]
    ) func fieldsAreFoundByTheirNames(field: String, value: String?) {
        let text = "Name:\ta: b\nUid:\t0\t1\t2\t3\nGroups:\t \nVmLck:\t      12 kB\nEmpty:\nNoColon\nCut:\t1"
        #expect(ProcessStatus(Array(text.utf8))[field] == value)
    }

    @Test(arguments: [
        ("Name:\tinit\nNSpid:\t4711\t1\nNSpgid:\t1\n", true),
        ("NSpid:\t4711\t12\t1\n", true),
        ("Name:\ta\\nNSpid:\t1\t1\nNSpid:\t4711\n", false),
        ("NSpid:\t4711\t7\n", false),
        ("NSpid:\t4711\n", false),
        ("NSpid:\t1\n", false),
        ("NSpid:\t11\t11\n", false),
        ("Name:\tinit\n", false),
        ("", false),
    ]) func theFirstProcessOfANamespaceIsKnown(status: String, expected: Bool) {
        #expect(ProcessStatus(Array(status.utf8)).isFirstInPIDNamespace == expected)
    }

    @Test(
        arguments: [
            ("1 (init) S 0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 1 2\n", 4711),
            ("1 (a) b) (c) S 0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 1 2\n", 4711),
            ("1 () S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1) R 0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 1 2\n", 4711),
            ("1 (\u{301})\u{301}) S 0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 1 2\n", 4711),
            ("1 (init) S 0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711", nil),
            ("1 (init) S 0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 -1 1 2\n", nil),
            ("1 (init) S 0 0 0", nil), ("1 (in", nil), ("1 2 3", nil), ("", nil),
        ] as [(String, UInt64?)]
    ) func theStartTimeIsFoundBehindAnyName(text: String, time: UInt64?) {
        #expect(ProcessStat.startTime(Array(text.utf8)) == time)
    }

    /// The kernel's own words, of this process and in its own namespace.
    @Test func whatTheKernelWritesIsRead() throws {
        let procfs = try Procfs()
        #expect(try procfs.status()["Pid"] == "\(getpid())")
        #expect(try procfs.startTime() == procfs.startTime(of: getpid()))
        let root = try Descriptor.open("/", .directory).status("/").st_dev
        #expect(try procfs.mountInfo().contains { $0.mountPoint == "/" && $0.device == root })
        #expect(try procfs.cgroups() == procfs.cgroups(of: getpid()))
        for kind in [Procfs.Namespace.mount, .network, .ipc, .uts, .pid] {
            #expect(try procfs.sharesNamespace(kind, with: getpid()))
        }
    }
}
