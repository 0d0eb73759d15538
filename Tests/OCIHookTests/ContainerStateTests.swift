import Platform
import Testing

@testable import OCIHook

@Suite struct ContainerStateTests {
    @Test(arguments: [
        // runc
        #"{"ociVersion":"1.0.2","id":"a","status":"creating","pid":7,"bundle":"/b","annotations":{"x":"y"}}"#,
        // crun: a member more, another status
        #"{"ociVersion":"1.0","id":"a","pid":7,"root":"rootfs","bundle":"/b","status":"created"}"#,
    ])
    func readsWhatRuntimesWrite(text: String) throws {
        let state = try ContainerState(parsing: Array(text.utf8))
        #expect(state.id == "a")
        #expect(state.pid == 7)
        #expect(state.bundle == "/b")
    }

    @Test func readsAStoppedContainer() throws {
        let state = try ContainerState(parsing: Array(#"{"id":"a","bundle":"/b","status":"stopped"}"#.utf8))
        #expect(state.pid == nil)
    }

    @Test(arguments: [
        ("", "not an OCI state"), ("{", "not an OCI state"), ("[]", "not an OCI state"), ("null", "not an OCI state"),
        (#"{"id":"a"}"#, "\"bundle\" is missing"), (#"{"bundle":"/b"}"#, "\"id\" is missing"),
        (#"{"id":7,"bundle":"/b"}"#, "\"id\" is of the wrong type"),
        (#"{"id":"a","bundle":"/b","pid":"7"}"#, "\"pid\" is of the wrong type"),
        (#"{"id":"","bundle":"/b"}"#, "its id"), (#"{"id":"a\u0000b","bundle":"/b"}"#, "its id"),
        (#"{"id":"a","bundle":"b"}"#, "its bundle"), (#"{"id":"a","bundle":""}"#, "its bundle"),
        (#"{"id":"a","bundle":"/b","pid":99999999999}"#, "malformed"),
        (String(repeating: "[", count: 100_000), "malformed"),
    ])
    func refusesWithOneClearLine(text: String, reason: String) throws {
        let error = #expect(throws: Failure.self) { try ContainerState(parsing: Array(text.utf8)) }
        let line = try #require(error).description
        #expect(line.hasPrefix("cannot read the container's state: "))
        #expect(line.contains(reason), "\(line)")
        #expect(!line.contains("\n"))
    }
}

@Suite struct BundleConfigTests {
    func config(_ text: String) throws -> BundleConfig {
        try BundleConfig(parsing: Array(text.utf8), path: "/b/config.json")
    }

    @Test(arguments: [
        (#"[{"destination":"/dev","type":"tmpfs"}]"#, true),
        (#"[{"destination":"/dev/","type":"tmpfs"}]"#, true),
        (#"[{"destination":"/dev","type":"tmpfs"},{"destination":"/dev/pts","type":"devpts"}]"#, true),
        (#"[{"destination":"/dev","type":"tmpfs"},{"destination":"/dev","type":"bind"}]"#, false),
        (#"[{"destination":"/dev","type":"tmpfs"},{"destination":"//./dev","type":"bind"}]"#, false),
        (#"[{"destination":"/dev","type":"bind"}]"#, false),
        (#"[{"destination":"/dev"}]"#, false),
        (#"[{"destination":"/dev","type":"tmpfs","options":["nosuid","mode=755"]}]"#, true),
        (#"[{"destination":"/dev","type":"tmpfs","source":"/srv","options":["nosuid","rbind"]}]"#, false),
        (#"[{"destination":"/dev","type":"tmpfs","source":"/srv","options":["bind"]}]"#, false),
        (#"[{"destination":"/","type":"tmpfs"}]"#, false),
        ("[]", false),
    ])
    func knowsADevOfItsOwn(mounts: String, expected: Bool) throws {
        #expect(try config("{\"mounts\":\(mounts)}").mountsOwnDev == expected)
    }

    @Test func findsTheRoot() throws {
        #expect(try config(#"{"root":{"path":"rootfs"}}"#).rootPath(bundle: "/b") == "/b/rootfs")
        #expect(try config(#"{"root":{"path":"/r"}}"#).rootPath(bundle: "/b") == "/r")
        for text in ["{}", #"{"root":{"path":""}}"#, #"{"root":{"path":"a\u0000"}}"#] {
            let parsed = try config(text)
            #expect(throws: Failure.self) { try parsed.rootPath(bundle: "/b") }
        }
    }

    @Test(arguments: [
        ("{}", 0 as UInt32, 0 as UInt32),
        (#"{"process":{"user":{"uid":1000,"gid":100}}}"#, 1000, 100),
        (
            #"""
            {"process":{"user":{"uid":5,"gid":7}},"linux":{
            "uidMappings":[{"containerID":0,"hostID":100000,"size":2},{"containerID":2,"hostID":200000,"size":10}],
            "gidMappings":[{"containerID":0,"hostID":300000,"size":65536}]}}
            """#, 200_003, 300_007
        ),
    ])
    func findsTheOwnerOnTheHost(text: String, uid: UInt32, gid: UInt32) throws {
        let owner = try config(text).deviceOwner()
        #expect(owner.uid == uid)
        #expect(owner.gid == gid)
    }

    @Test(arguments: [
        #"{"process":{"user":{"uid":65536}},"linux":{"uidMappings":[{"containerID":0,"hostID":1,"size":65536}]}}"#,
        #"{"process":{"user":{"uid":1}},"linux":{"uidMappings":[{"containerID":0,"hostID":4294967295,"size":2}]}}"#,
    ])
    func refusesAnOwnerThatTheHostDoesNotKnow(text: String) throws {
        let parsed = try config(text)
        #expect(throws: Failure.self) { try parsed.deviceOwner() }
    }

    @Test(arguments: ["", "{", "[]", #"{"root":7}"#, #"{"mounts":[{}]}"#])
    func refusesWithTheFilesName(text: String) throws {
        let error = #expect(throws: Failure.self) { try config(text) }
        #expect(error?.description.hasPrefix("cannot read /b/config.json: ") == true)
    }
}
