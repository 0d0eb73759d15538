import Glibc
import Platform
import Testing

@testable import OCIHook

/// What lets a container's processes get out of its cgroup, and so refuses it where it shares a PID namespace.
@Suite struct CgroupExitsTests {
    static let harmless = ContainerPrivileges(
        capabilities: ["KILL", "CHOWN"],
        isHostRoot: true,
        isConfined: false
    )

    private func mounts(_ text: String) throws(Failure) -> [MountInfo] {
        try MountInfo.parse(Array(text.utf8), path: "/proc/1/mountinfo")
    }

    /// The refusal of a container with the cgroup `/pod/box`; nil if it is not refused.
    private func refusal(
        _ privileges: ContainerPrivileges = harmless,
        namespaceRoot: String? = "/pod/box/init",
        mounts text: String = "",
        seesHostProcesses: Bool = false
    ) throws -> String? {
        let exits = CgroupExits(
            cgroup: try #require(CgroupPath("/pod/box".utf8)),
            namespaceRoot: namespaceRoot.flatMap { CgroupPath($0.utf8) },
            mounts: try mounts(text),
            privileges: privileges,
            seesHostProcesses: seesHostProcesses
        )
        do {
            try exits.refuse(host: mounts("22 21 0:20 / /proc rw - proc proc rw\n"))
            return nil
        } catch {
            return error.description
        }
    }

    @Test(arguments: ["SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_MODULE", "SYS_RAWIO"])
    func `a capability that leads out is named`(name: String) throws {
        var privileges = Self.harmless
        #expect(try refusal(privileges) == nil)
        privileges = ContainerPrivileges(
            capabilities: ["KILL", name],
            isHostRoot: false,
            isConfined: true
        )
        let line = try #require(try refusal(privileges))
        let what = "cannot give the container its TPM: it shares a PID namespace"
        #expect(line.hasPrefix("\(what), and with CAP_\(name) its processes could leave its control group ("))
        #expect(line.contains("--pid=host") && line.contains("shareProcessNamespace"))
        #expect(line.contains("leave the hook out"))
    }

    @Test func `capabilities without a limit lead out`() throws {
        let privileges = ContainerPrivileges(
            capabilities: nil,
            isHostRoot: false,
            isConfined: true
        )
        #expect(try refusal(privileges)?.contains("process.capabilities does not limit") == true)
    }

    @Test(
        arguments: [
            ("/pod/box rw", true), ("/pod/box/below ro", true), ("/pod ro", false), ("/ ro", false),
            ("/pod/other rw", false), ("/pod/boxes rw", false), ("/../x rw", false), ("/a\\04 rw", false),
        ]
    )
    func `a mount of cgroups is the container's own or leads out, read-only or not`(
        mount: String,
        isOwn: Bool
    ) throws {
        let fields = mount.split(separator: " ")
        let line = "9 8 0:26 \(fields[0]) /root/sys/fs/cgroup \(fields[1]) - cgroup2 cgroup rw\n"
        let why = try refusal(mounts: line)
        #expect((why == nil) == isOwn)
        #expect(why?.contains("above its own at /root/sys/fs/cgroup,") ?? isOwn)
        // Version 1 does not tell when a container ends, and so nothing of its mounts does.
        #expect(try refusal(mounts: line.replacing("cgroup2", with: "cgroup")) == nil)
    }

    @Test(arguments: [("/pod/box", true), ("/pod/box/a", true), ("/pod", false), ("/", false), (nil, false)])
    func `a cgroup namespace is the container's own or keeps nothing in`(root: String?, isOwn: Bool) throws {
        let why = try refusal(namespaceRoot: root)
        #expect((why == nil) == isOwn)
        #expect(why?.contains("it has no cgroup namespace of its own") ?? isOwn)
    }

    @Test(arguments: [(true, false, true), (false, false, false), (true, true, false), (false, true, false)])
    func `who sees the host's processes could use what they see`(
        isRoot: Bool,
        isConfined: Bool,
        canBorrow: Bool
    ) throws {
        let privileges = ContainerPrivileges(capabilities: ["KILL"], isHostRoot: isRoot, isConfined: isConfined)
        #expect(privileges.canBorrowFromHost == canBorrow)
        let own = "9 8 0:50 / /root/proc rw - proc proc rw\n"
        let host = "10 8 0:20 / /root/host/proc rw - proc proc rw\n"
        #expect(try refusal(privileges, mounts: own) == nil)
        for why in [
            try refusal(privileges, mounts: own, seesHostProcesses: true), try refusal(privileges, mounts: own + host),
        ] {
            #expect((why != nil) == canBorrow)
            #expect(why?.contains("through the host's processes") ?? !canBorrow)
        }
    }

    @Test func `privileges are those of config.json, in any of its sets`() throws {
        let json = """
            {"process": {"apparmorProfile": "p", "capabilities":
            {"bounding": ["CAP_KILL"], "ambient": ["cap_sys_admin"], "permitted": ["chown"]}}}
            """
        let config = try BundleConfig(parsing: Array(json.utf8), path: "config.json")
        func map(_ text: String) throws -> UserNamespace {
            let map = try IDMap(parsing: Array(text.utf8), path: "map")
            return UserNamespace(users: map, groups: map)
        }
        let privileges = ContainerPrivileges(of: config, try map("0 0 4294967295"), false)
        #expect(privileges.capabilities == ["KILL", "SYS_ADMIN", "CHOWN"])
        #expect(privileges.isHostRoot && !privileges.isConfined)
        #expect(!ContainerPrivileges(of: config, try map("0 100000 65536"), true).isHostRoot)
        #expect(ContainerPrivileges(of: config, try map("0 100000 65536\n65536 0 1"), true).isHostRoot)
        let none = try BundleConfig(parsing: Array("{}".utf8), path: "config.json")
        let unknown = ContainerPrivileges(of: none, try map("0 100000 65536"), false)
        #expect(unknown.capabilities == nil)
    }

    @Test func `a container's mounts are its root and what is below`() throws {
        let all = try mounts(
            """
            1 1 0:1 / / rw - ext4 x rw
            7 5 0:3 / /root/sys/fs/cgroup ro - cgroup2 x rw
            2 1 0:26 / /sys/fs/cgroup rw - cgroup2 x rw
            5 3 0:2 / /root/sys rw - sysfs x rw
            3 1 0:9 /b /root rw - ext4 x rw
            4 3 0:8 / /root/dev rw - tmpfs x rw
            """
        )
        func below(_ root: UInt64) -> [UInt64?]? { ContainerMounts.below(root, in: all)?.map { $0.id } }
        #expect(below(3) == [3, 5, 4, 7])
        #expect(below(7) == [7])
        #expect(below(1)?.count == 6)
        #expect(below(6) == nil)
    }
}
