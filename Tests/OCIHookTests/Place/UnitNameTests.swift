import Platform
import Testing

@testable import OCIHook

/// What a vTPM's unit is called, and the units that the container lives in.
@Suite struct UnitNameTests {
    @Test(arguments: [
        ("web", "web"), ("my-web_1.2:3", "my-web_1.2:3"), ("a/b", #"a\x2fb"#), ("ä", #"\xc3\xa4"#),
        (#"a\b@c d"#, #"a\x5cb\x40c\x20d"#), ("\n", #"\x0a"#), ("", ""),
    ])
    func `a container's ID is a part of a name`(id: String, part: String) {
        #expect(UnitName.part(id) == part)
    }

    @Test func `a long one is cut between two characters`() {
        #expect(UnitName.part(String(repeating: "a", count: 4096)) == String(repeating: "a", count: 128))
        #expect(UnitName.part("a" + String(repeating: "/", count: 4096)).utf8.count == 1 + 31 * 4)
    }

    private func units(_ paths: String...) -> [String] {
        UnitName.units(along: paths.compactMap { CgroupPath($0.utf8) })
    }

    @Test func `the units are those along the cgroups, once each`() {
        #expect(units("/machine.slice/libpod-a.scope/container") == ["libpod-a.scope"])
        #expect(
            units("/system.slice/q1.service/libpod-payload-a", "/system.slice/q1.service/runtime") == ["q1.service"]
        )
        #expect(
            units("/system.slice/docker-a.scope", "/system.slice/containerd.service")
                == ["docker-a.scope", "containerd.service"]
        )
        #expect(units("/user.slice/user-0.slice/user@0.service/app.slice/x.scope") == ["user@0.service", "x.scope"])
        #expect(units("/", "/docker/a", "/x.slice") == [])
    }

    /// systemd would refuse the vTPM's unit for one of these.
    @Test func `what cannot be the name of a unit is none`() {
        #expect(units("/a b.service", "/.scope", "/ä.scope", "/\(String(repeating: "a", count: 250)).scope") == [])
        #expect(units("/a@.service", "/@a.service", "/a@b.service") == ["a@b.service"])
        #expect(units("/_cgroup.service", "/__a.scope") == ["cgroup.service", "_a.scope"])
    }
}
