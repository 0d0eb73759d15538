import CLinux
import Platform
import Testing

@testable import OCIHook

@Suite struct DeviceOwnerTests {
    private static let initial = "         0          0 4294967295\n"
    private static let mapped = "0 100000 1000\n 1000 5000 1\n1001 200000 64536\n"

    private func map(_ text: String) throws -> IDMap { try IDMap(parsing: Array(text.utf8), path: "map") }

    private func config(_ json: String) throws -> BundleConfig {
        try BundleConfig(parsing: Array(json.utf8), path: "config.json")
    }

    private func owner(_ json: String, _ uids: String, _ gids: String, group: UInt32? = nil) throws -> DeviceOwner {
        try UserNamespace(users: map(uids), groups: map(gids)).deviceOwner(of: config(json), group: group)
    }

    private func refusal(_ json: String, _ uids: String, _ gids: String, group: UInt32? = nil) throws -> String {
        let error = #expect(throws: Failure.self) { try owner(json, uids, gids, group: group) }
        return try #require(error).description
    }

    @Test func mapsAreRead() throws {
        #expect(try map(Self.initial).isInitial)
        #expect(try !map(Self.mapped).isInitial)
        #expect(try !map("").isInitial)
        let map = try map(Self.mapped)
        #expect([0, 999, 1000, 1001, 65536, 65537].map(map.hostID) == [100000, 100999, 5000, 200000, 264535, nil])
        #expect(try self.map("").hostID(of: 0) == nil)
        // 2^32 - 1 is no ID, and what goes beyond has none.
        #expect(try self.map("0 4294967290 10").hostID(of: 4) == 4_294_967_294)
        #expect(try self.map("0 4294967290 10").hostID(of: 5) == nil)
        #expect(try self.map("0 4294967290 10").hostID(of: 6) == nil)
        #expect(try self.map(Self.initial).hostID(of: .max) == nil)
    }

    @Test(arguments: ["0 0", "0 0 0 0", "a 0 1", "0 -1 1", "0 0 4294967296", "\0"])
    func whatIsNoMapIsRefused(text: String) throws {
        #expect(throws: Failure.self) { try map(text) }
    }

    @Test func itIsTheUserOfTheProcess() throws {
        let user = #"{"process": {"user": {"uid": 1000, "gid": 1001}}}"#
        #expect(try owner(user, Self.initial, Self.initial) == DeviceOwner(uid: 1000, gid: 1001, mode: 0o600))
        #expect(try owner(user, Self.mapped, Self.mapped) == DeviceOwner(uid: 5000, gid: 200000, mode: 0o600))
        for none in ["{}", #"{"process": {}}"#, #"{"process": {"user": {}}}"#] {
            #expect(try owner(none, Self.initial, Self.initial) == DeviceOwner(uid: 0, gid: 0, mode: 0o600))
            #expect(try owner(none, Self.mapped, Self.mapped) == DeviceOwner(uid: 100000, gid: 100000, mode: 0o600))
        }
    }

    @Test func aGroupIsTheContainersOwn() throws {
        let user = #"{"process": {"user": {"uid": 1000, "gid": 1001}}}"#
        #expect(try owner(user, Self.initial, Self.initial, group: 59) == DeviceOwner(uid: 1000, gid: 59, mode: 0o660))
        let mapped = try owner(user, Self.mapped, "0 300000 60", group: 59)
        #expect(mapped == DeviceOwner(uid: 5000, gid: 300059, mode: 0o660))
        #expect(try refusal(user, Self.mapped, "0 300000 60", group: 60).contains("its group 60 has no ID on the host"))
    }

    @Test func whoHasNoIDOnTheHostIsRefused() throws {
        let user = #"{"process": {"user": {"uid": 70000, "gid": 70001}}}"#
        #expect(try refusal(user, Self.mapped, Self.initial).contains("its user 70000 has no ID on the host"))
        #expect(try refusal(user, Self.initial, Self.mapped).contains("its group 70001 has no ID on the host"))
        // Before the runtime has written them.
        #expect(try refusal("{}", "", "").contains("its user 0 has no ID on the host"))
    }

    @Test func theKernelAndTheConfigurationMustAgree() throws {
        func config(_ uid: UInt32, _ gid: UInt32) -> String {
            #"{"linux": {"uidMappings": [{"containerID": 0, "hostID": \#(uid), "size": 10}], "#
                + #""gidMappings": [{"containerID": 0, "hostID": \#(gid), "size": 10}]}}"#
        }
        let expected = DeviceOwner(uid: 100000, gid: 100000, mode: 0o600)
        #expect(try owner(config(100000, 100000), Self.mapped, Self.mapped) == expected)
        let user = try refusal(config(0, 100000), Self.mapped, Self.mapped)
        #expect(user.contains("its user 0 is 100000 on the host, and config.json maps it otherwise"))
        #expect(try refusal(config(100000, 1), Self.mapped, Self.mapped).contains("its group 0 is 100000 on the host"))
        // A configuration that a runtime did not follow.
        #expect(try refusal(config(100000, 100000), Self.initial, Self.initial).contains("its user 0 is 0 on the host"))
    }

    @Test func hostsMountsAreKnown() throws {
        let text = """
            22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
            23 22 0:5 / /dev rw shared:2 - devtmpfs devtmpfs rw
            24 22 0:65536 /a\\040b /mnt rw - tmpfs tmpfs rw

            """
        let host = try HostMounts(MountInfo.parse(Array(text.utf8), path: "mountinfo"))
        for (major, minor, isThere) in [(254, 0, true), (0, 5, true), (0, 65536, true), (0, 6, false), (5, 0, false)] {
            #expect(host.contain(UInt(clinux_makedev(UInt32(major), UInt32(minor)))) == isThere)
        }
    }
}
