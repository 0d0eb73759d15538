import FoundationEssentials
import Glibc
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

    /// A runtime that leaves its end of the pipe open, with all of the state written or nothing.
    @Test(arguments: [#"{"id":"a","bundle":"/b"}"#, ""]) func anInputWithoutEndIsNotWaitedFor(text: String) throws {
        var ends: [CInt] = [-1, -1]
        try #require(pipe(&ends) == 0)
        let input = Descriptor(owning: ends[0])
        let runtime = Descriptor(owning: ends[1])
        try runtime.writeAll(Array(text.utf8), "the state")
        let error = #expect(throws: Failure.self) { try ContainerState(reading: input, timeout: 100) }
        #expect(
            error?.description.hasPrefix("cannot read the container's state: standard input was not closed within")
                == true
        )
        withExtendedLifetime(runtime) {}
    }

    @Test func readsAStoppedContainer() throws {
        let state = try ContainerState(parsing: Array(#"{"id":"a","bundle":"/b","status":"stopped"}"#.utf8))
        #expect(state.pid == nil)
    }

    @Test(arguments: [
        ("", "standard input is empty or closed"), ("{", "not an OCI state"), ("[]", "not an OCI state"),
        ("null", "not an OCI state"),
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
        ("{}", nil),
        (#"{"createRuntime":[{"path":"/usr/libexec/container-vtpm/vtpm-hook","timeout":60}]}"#, 60),
        (#"{"prestart":[{"path":"/opt/vtpm-hook","args":["vtpm-hook"],"timeout":30}]}"#, 30),
        (#"{"createRuntime":[{"path":"/opt/vtpm-hook"},{"path":"/vtpm-hook","timeout":9}]}"#, 9),
        (#"{"createRuntime":[{"path":"/vtpm-hook","timeout":8},{"path":"/vtpm-hook","timeout":9}]}"#, 8),
        (#"{"createRuntime":[{"path":"/vtpm-hook"}]}"#, nil),
        (#"{"createRuntime":[{"path":"/bin/wrapper","args":["vtpm-hook","createRuntime"],"timeout":7}]}"#, 7),
        (#"{"createRuntime":[{"path":"/bin/other","args":["other","vtpm-hook"],"timeout":7},{"path":"/"}]}"#, nil),
        (#"{"createRuntime":[{"path":"/usr/bin/other","timeout":5}]}"#, nil),
        (#"{"poststop":[{"path":"/vtpm-hook","timeout":5}]}"#, nil),
    ])
    func knowsItsTimeout(hooks: String, seconds: Int?) throws {
        #expect(try config("{\"hooks\":\(hooks)}").timeout(ofHook: "vtpm-hook") == seconds)
    }

    @Test(arguments: ["", "{", "[]", #"{"root":7}"#, #"{"mounts":[{}]}"#])
    func refusesWithTheFilesName(text: String) throws {
        let error = #expect(throws: Failure.self) { try config(text) }
        #expect(error?.description.hasPrefix("cannot read /b/config.json: ") == true)
    }

    @Test func aPipeIsNotWaitedFor() throws {
        var template = Array("/tmp/vtpm-bundle-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let bundle = String(decoding: template.dropLast().map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
        defer {
            unlink("\(bundle)/config.json")
            rmdir(bundle)
        }
        try #require(mkfifo("\(bundle)/config.json", 0o600) == 0)
        let error = #expect(throws: Failure.self) { try BundleConfig.load(bundle: bundle) }
        #expect(error?.description == "cannot read \(bundle)/config.json: it is no regular file")
    }
}

/// `hooks/*.json`, which are installed for the operator to use.
@Suite struct HookConfigurationTests {
    private struct Entry: Decodable {
        let path: String
        let args: [String]
        let env: [String]?
        let timeout: Int?
    }

    private struct File: Decodable {
        let hooks: [String: [Entry]]
    }

    /// Where a hook's `env` is not given, runtimes let it have their own or the container's: CVE-2025-23266.
    @Test func eachHasAnEnvironmentOfItsOwn() throws {
        let folder = "\(#filePath)".split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/hooks"
        let names = try entries(of: Descriptor.open(folder, .directory), folder).filter { $0.hasSuffix(".json") }
        try #require(names.count >= 2)
        for name in names {
            let bytes = try Descriptor.open("\(folder)/\(name)", .read).readAll(limit: 1 << 16, name)
            for (stage, entries) in try JSONDecoder().decode(File.self, from: Data(bytes)).hooks {
                #expect(Hook.Stage(rawValue: stage) != nil, "\(name): \(stage) runs in the container")
                for entry in entries {
                    #expect(entry.env == ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "\(name): \(stage)")
                    #expect(entry.path.hasPrefix("/") && entry.args.last == stage, "\(name): \(stage)")
                    #expect((1...60).contains(entry.timeout ?? 0), "\(name): \(stage)")
                }
            }
        }
    }
}
