import JSONText
import Platform
import Testing
import VTPMProxy

@testable import OCIHook

/// A bundle's `config.json` with a vTPM that was prepared: all else stays byte for byte.
@Suite struct PreparedConfigTests {
    static let first = try? PreparedName(of: [.init(major: 10, minor: 224), .init(major: 253, minor: 65536)])
    static let second = try? PreparedName(of: [.init(major: 10, minor: 60), .init(major: 253, minor: 65537)])
    private static let hook = "/usr/libexec/container-vtpm/vtpm-hook"

    static func edited(
        _ text: String,
        _ name: PreparedName? = first,
        configuration: String? = nil
    ) throws -> String {
        let contents = try PreparedConfig.contents(
            of: Array(text.utf8),
            path: "/b/config.json",
            naming: try #require(name),
            hook: hook,
            configuration: configuration
        )
        return String(decoding: contents, as: UTF8.self)
    }

    private func parsed(_ text: String) throws -> JSONText {
        try JSONText(parsing: Array(text.utf8), path: "f", limit: 1 << 22)
    }

    private func rules(_ text: String) throws -> [String] {
        let json = try parsed(text)
        return (json.value(at: ["linux", "resources", "devices"])?.elements ?? []).map {
            String(decoding: json.bytes[$0.range], as: UTF8.self)
        }
    }

    private func entry(_ stage: String, _ name: PreparedName? = nil, _ more: String = "", timeout: Int) -> String {
        let prepared = name.map { ",\"--prepared\",\"\($0.text)\"" } ?? ""
        return "{\"path\":\"\(Self.hook)\",\"args\":[\"vtpm-hook\",\"\(stage)\"\(prepared)\(more)],"
            + "\"env\":[\"PATH=/usr/sbin:/usr/bin:/sbin:/bin\"],\"timeout\":\(timeout)}"
    }

    private func rule(_ major: Int, _ minor: Int) -> String {
        "{\"allow\":true,\"type\":\"c\",\"major\":\(major),\"minor\":\(minor),\"access\":\"rw\"}"
    }

    private let masks = PreparedConfig.maskedPaths.map { "\"\($0)\"" }.joined(separator: ",")

    /// Numbers that no program can write again as they are, members nobody knows, and an odd layout.
    @Test func `only what is added is new`() throws {
        let other = #"{"path":"/bin/other","args":["other","vtpm-hook"]}"#
        let deny = #"{"allow":false,"access":"rwm"}"#
        func text(_ hooks: String, _ poststop: String, _ devices: String, _ masked: String) -> String {
            """
            {\t"z": 1e400, "ociVersion":"1.0.2-\\u0064ev" ,
              "a": -0.00, "n": 123456789012345678901234567890,"hooks":{"poststart":[], "createRuntime":[\(other)\(hooks)],
              "poststop":[\(other)\(poststop)]},
              "linux" : {"maskedPaths":["/proc/kcore"\(masked)] ,"resources":{"devices":[\(deny)\(devices)],"unknown":{ } }}, "": [ ]
            }  \n
            """
        }
        let added = text(
            ",\(entry("createRuntime", Self.first, timeout: 60))",
            ",\(entry("poststop", Self.first, timeout: 10))",
            ",\(rule(10, 224)),\(rule(253, 65536))",
            ",\(masks)"
        )
        #expect(try Self.edited(text("", "", "", "")) == added)
    }

    @Test func `what is missing is made`() throws {
        let json = try parsed(Self.edited("{}"))
        #expect(json.value(at: ["hooks", "createRuntime"])?.elements?.count == 1)
        #expect(json.value(at: ["hooks", "poststop"])?.elements?.count == 1)
        #expect(json.value(at: ["linux"]) == nil)
    }

    @Test(arguments: [
        #"{"hooks":null,"linux":null}"#, #"{"hooks":{"createRuntime":null,"poststop":null,"prestart":null}}"#,
        #"{"linux":{"maskedPaths":null,"resources":null}}"#, #"{"linux":{"resources":{"devices":null}}}"#,
    ])
    func `null is nothing`(text: String) throws {
        let edited = try Self.edited(text)
        #expect(try PreparedConfig.isPrepared(Array(edited.utf8), path: "f"))
        #expect(try rules(edited) == [])
        let json = try parsed(edited)
        #expect(json.value(at: ["hooks", "poststop"])?.elements?.count == 1)
        #expect(json.value(at: ["linux", "maskedPaths"])?.elements == nil)
    }

    @Test(arguments: [
        (#"{"hooks":[]}"#, #""hooks" is an array and not an object"#),
        (#"{"hooks":{"createRuntime":{}}}"#, #""hooks.createRuntime" is an object and not an array"#),
        (#"{"linux":{"maskedPaths":"/x"}}"#, #""linux.maskedPaths" is a string and not an array"#),
    ])
    func `what is of another kind is refused`(text: String, why: String) throws {
        #expect(throws: Failure("cannot change /b/config.json", because: why)) { try Self.edited(text) }
    }

    private static let texts = [
        "{}", "{\n}\n", #"{"a":1,"hooks":{"createRuntime":[{"path":"/bin/other"}]}}"#,
        "{\n\t\"linux\": {\n\t\t\"resources\": {\n\t\t\t\"devices\": [\n\t\t\t\t{\"allow\":false}\n\t\t\t]\n\t\t}\n\t}\n}",
        #"{"linux":{"resources":{"devices":[{"allow":false},{"allow":true,"type":"c","access":"m"}]}},"hooks":{"poststop":[]}}"#,
        #"{"hooks":{"createRuntime":[{"path":"/o/vtpm-hook","args":["vtpm-hook","createRuntime"]},{"path":"/bin/other"}]}}"#,
    ]

    /// A creation whose processes were all killed has left it.
    @Test(arguments: texts) func `an earlier creation's entries are replaced`(text: String) throws {
        let twice = try Self.edited(Self.edited(text), Self.second)
        #expect(try plain(twice) == plain(Self.edited(text, Self.second)))
        #expect(try Self.edited(Self.edited(text), Self.first) == Self.edited(Self.edited(Self.edited(text))))
        #expect(!twice.contains(try #require(Self.first).text))
    }

    /// The text without the white space between its values.
    private func plain(_ text: String) throws -> String {
        let json = try parsed(text)
        func write(_ value: JSONValue) -> String {
            if let members = value.members {
                return "{" + members.map { JSONText.quoted($0.name) + ":" + write($0.value) }.joined(separator: ",")
                    + "}"
            }
            if let elements = value.elements { return "[" + elements.map(write).joined(separator: ",") + "]" }
            return String(decoding: json.bytes[value.range], as: UTF8.self)
        }
        return write(json.root)
    }

    @Test(arguments: ["prestart", "createRuntime"])
    func `entries that would make a vTPM are replaced`(stage: String) throws {
        let ours = [
            #"{"path":"/opt/vtpm-hook","args":["vtpm-hook","\#(stage)","--config","/etc/x.toml"]}"#,
            #"{"path":"/bin/wrapper","args":["/opt/vtpm-hook","\#(stage)"]}"#, #"{"path":"/vtpm-hook"}"#,
        ]
        let others = [#"{"path":"/bin/other"}"#, #"{"path":"/x/vtpm-hook.sh","args":["other","vtpm-hook"]}"#]
        let list = [ours[0], others[0], ours[1], others[1], ours[2]].joined(separator: ",")
        let text = "{\"hooks\":{\"\(stage)\":[\(list)]}}"
        let configuration = try PreparedConfig.configuration(of: Array(text.utf8), path: "f")
        #expect(configuration == "/etc/x.toml")
        let json = try parsed(Self.edited(text, configuration: configuration))
        let hooks = ["prestart", "createRuntime"].flatMap { json.value(at: ["hooks", $0])?.elements ?? [] }
        let own = entry("createRuntime", Self.first, ",\"--config\",\"/etc/x.toml\"", timeout: 60)
        #expect(hooks.map { String(decoding: json.bytes[$0.range], as: UTF8.self) } == others + [own])
        let poststop = try #require(json.value(at: ["hooks", "poststop"])?.elements)
        #expect(
            poststop.map { String(decoding: json.bytes[$0.range], as: UTF8.self) }
                == [entry("poststop", Self.first, ",\"--config\",\"/etc/x.toml\"", timeout: 10)]
        )
    }

    @Test func `the poststop of hook mode is replaced`() throws {
        let own = #"{"path":"/opt/vtpm-hook","args":["vtpm-hook","poststop","--config","/c"],"timeout":9}"#
        let json = try parsed(Self.edited("{\"hooks\":{\"poststop\":[\(own)]}}"))
        let poststop = try #require(json.value(at: ["hooks", "poststop"])?.elements)
        #expect(
            poststop.map { String(decoding: json.bytes[$0.range], as: UTF8.self) } == [
                entry("poststop", Self.first, timeout: 10)
            ]
        )
    }

    @Test(arguments: [
        (#""prestart":[\#(call("/a"))],"createRuntime":[\#(call("/b"))]"#),
        #""createRuntime":[\#(call("/a")),\#(call("/b"))]"#,
    ])
    func `entries with different --config are refused`(hooks: String) {
        #expect(throws: Failure("cannot use f", because: "its entries for vtpm-hook have different --config")) {
            try PreparedConfig.configuration(of: Array("{\"hooks\":{\(hooks)}}".utf8), path: "f")
        }
    }

    private static func call(_ configuration: String) -> String {
        #"{"path":"/vtpm-hook","args":["vtpm-hook","createRuntime","--config","\#(configuration)"]}"#
    }

    @Test func `no or one --config is known`() throws {
        for (hooks, expected) in [
            ("", nil), (#""createRuntime":[\#(Self.call("/a")),\#(Self.call("/a"))]"#, "/a"),
            (#""createRuntime":[{"path":"/vtpm-hook","args":["vtpm-hook","--config"]}]"#, nil),
            (#""createRuntime":[{"path":"/other","args":["other","--config","/x"]}]"#, nil),
            (#""createContainer":[\#(Self.call("/a"))]"#, nil),
        ] {
            #expect(try PreparedConfig.configuration(of: Array("{\"hooks\":{\(hooks)}}".utf8), path: "f") == expected)
        }
    }

    @Test func `a large file is refused`() throws {
        // What is added has to fit, too.
        for count in [PreparedConfig.sizeLimit + 1, PreparedConfig.sizeLimit - 10] {
            let text = "{}" + String(repeating: " ", count: count - 2)
            #expect(throws: Failure("cannot read /b/config.json", because: "it is larger than 1048576 bytes")) {
                try Self.edited(text)
            }
        }
        let text = "{}" + String(repeating: " ", count: PreparedConfig.sizeLimit - 4096)
        #expect(try Self.edited(text).utf8.count > text.utf8.count)
    }

    /// Runtimes read the last one, and others the first one.
    @Test(arguments: [
        (#"{"hooks":{},"hooks":{}}"#, "hooks"), (#"{"hooks":{},"\u0068ooks":{}}"#, "hooks"),
        (#"{"hooks":{"createRuntime":[],"createRuntim\u0065":[]}}"#, "createRuntime"),
        (#"{"a":[{"b":{"c":1,"c":2}}]}"#, "c"),
        (#"{"linux":{"resources":{"devices":[{"allow":true,"allow":false}]}}}"#, "allow"),
    ])
    func `a name that is given twice is refused`(text: String, name: String) {
        let why = "line 1: \"\(name)\" is given twice in one object"
        #expect(throws: Failure("cannot read /b/config.json", because: why)) { try Self.edited(text) }
    }

    // MARK: - Device rules

    private func rulesAdded(to list: [String]) throws -> [String] {
        let text = "{\"linux\":{\"resources\":{\"devices\":[\(list.joined(separator: ","))]}}}"
        let all = try rules(Self.edited(text))
        #expect(Array(all.prefix(list.count)) == list)
        return Array(all.dropFirst(list.count))
    }

    @Test(
        arguments: [
            [], [#"{"allow":true}"#], [#"{"allow":true,"access":"rwm"}"#],
            [#"{"allow":true,"type":"a","access":"rwm"}"#],
            [#"{"allow":false,"access":"rwm"}"#, #"{"allow":true,"type":"c","access":"rw"}"#],
            [#"{"allow":true,"type":null,"major":null,"minor":null,"access":null}"#],
            [#"{"allow":true,"type":"c","major":-1,"minor":-1,"access":"wr"}"#],
            [#"{"allow":true}"#, #"{"allow":false,"type":"b","access":"rwm"}"#],
            [#"{"allow":true}"#, #"{"allow":false,"type":"c","access":"m"}"#],
            [#"{"allow":true}"#, #"{"allow":false,"type":"c","major":10,"minor":225,"access":"rwm"}"#],
        ] as [[String]]
    )
    func `no rule is added for what is allowed`(list: [String]) throws {
        #expect(try rulesAdded(to: list) == [])
    }

    @Test(
        arguments: [
            [#"{"allow":false}"#], [#"{"allow":false,"access":"rwm"}"#], [#"{}"#], [#"{"allow":"true"}"#],
            [#"{"allow":true,"access":"rwm"}"#, #"{"allow":false,"type":"c","access":"w"}"#],
            [#"{"allow":true,"type":"b"}"#], [#"{"allow":true,"type":"c","access":"m"}"#],
            [#"{"allow":true,"type":"c","access":"r"}"#],
            [#"{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}"#],
            [#"{"allow":true,"type":"c","access":""}"#],
        ] as [[String]]
    )
    func `a rule is added for what is not`(list: [String]) throws {
        #expect(try rulesAdded(to: list) == [rule(10, 224), rule(253, 65536)])
    }

    @Test func `each device has its own`() throws {
        let deny = #"{"allow":true}"#
        let list = [deny, #"{"allow":false,"type":"c","major":253,"access":"r"}"#]
        #expect(try rulesAdded(to: list) == [rule(253, 65536)])
        #expect(try rulesAdded(to: [#"{"allow":false}"#, rule(253, 65536)]) == [rule(10, 224)])
    }

    // MARK: - What is prepared

    @Test func `a prepared file is known by its hook`() throws {
        let text = try Self.edited("{}")
        #expect(try PreparedConfig.isPrepared(Array(text.utf8), path: "f"))
        let name = try #require(Self.first).text
        for other in [
            "{}", text.replacing("createRuntime\":", with: "createContainer\":"),
            text.replacing("--prepared", with: "--prepare"),
            text.replacing(name, with: String(name.dropLast(6))), text.replacing("vtpm-hook", with: "other"),
        ] { #expect(try !PreparedConfig.isPrepared(Array(other.utf8), path: "f"), "\(other)") }
    }
}
