import JSONText
import Platform
import Testing

@testable import OCIHook

/// What a runtime makes of the edited `config.json`, and of one that somebody has written in order to mislead.
@Suite struct PreparedConfigEffectTests {
    private func parsed(_ text: String) throws -> JSONText {
        try JSONText(parsing: Array(text.utf8), path: "f", limit: 1 << 22)
    }

    private func rule(_ major: Int, _ minor: Int) -> String {
        "{\"allow\":true,\"type\":\"c\",\"major\":\(major),\"minor\":\(minor),\"access\":\"rw\"}"
    }

    /// runc would take it for the other, and what it has for what was added.
    @Test(arguments: [
        (#"{"HOOKS":null}"#, "HOOKS", "hooks"), (#"{"hooks":{"createruntime":[]}}"#, "createruntime", "createRuntime"),
        (#"{"hoo\u212as":null}"#, "hoo\u{212a}s", "hooks"), (#"{"linux":{},"Linux":null}"#, "Linux", "linux"),
        (#"{"linux":{"masKedPath\u017f":[]}}"#, "masKedPath\u{17f}", "maskedPaths"),
        (#"{"linux":{"resources":{"devices":[{},{"Allow":false}]}}}"#, "Allow", "allow"),
        (#"{"hooks":{"poststop":[{"Path":"/x/vtpm-hook"}]}}"#, "Path", "path"),
        (#"{"process":{"user":{"UID":0}}}"#, "UID", "uid"), (#"{"Annotations":{}}"#, "Annotations", "annotations"),
    ])
    func `a name in another case is refused`(text: String, name: String, own: String) {
        let why = "\"\(name)\" is not \"\(own)\", and runc takes it for that"
        #expect(throws: Failure("cannot use /b/config.json", because: why)) { try PreparedConfigTests.edited(text) }
    }

    /// Annotations are anybody's, and members that decide nothing are as well.
    @Test(arguments: [
        #"{"annotations":{"hooks":"a","HOOKS":"b","Hooks":"c"}}"#, #"{"OCIVersion":"1.0.2"}"#,
        #"{"linux":{"sysctl":{"A":"1","a":"2"}}}"#, #"{"hook":[],"hookß":{},"x":{"HOOKS":1}}"#,
    ])
    func `other names may differ in nothing but case`(text: String) throws {
        #expect(try PreparedConfig.isPrepared(Array(PreparedConfigTests.edited(text).utf8), path: "f"))
    }

    private func masks(of text: String) throws -> [String]? {
        try parsed(PreparedConfigTests.edited(text)).value(at: ["linux", "maskedPaths"])?.elements?.compactMap(\.string)
    }

    /// They would be mounted on the host too, and stay there.
    @Test(arguments: [
        (#""mounts":[{"destination":"/sys","options":["rbind","rshared"]}]"#, "", false),
        (#""mounts":[{"destination":"/proc"},{"destination":"/x/../sys/","options":["shared","rbind"]}]"#, "", false),
        ("", #""rootfsPropagation":"rshared""#, false), ("", #""rootfsPropagation":"shared""#, false),
        ("", #""rootfsPropagation":"rslave""#, true),
        (#""mounts":[{"destination":"/sys","options":["rbind","rslave"]}]"#, "", true),
        (#""mounts":[{"destination":"/sys","options":null},{}]"#, "", true),
    ])
    func `a container that shares mounts with the host gets no masks`(
        mounts: String,
        propagation: String,
        isMasked: Bool
    ) throws {
        let linux = [propagation, #""maskedPaths":["/x"]"#].filter { !$0.isEmpty }.joined(separator: ",")
        let text = "{" + [mounts, "\"linux\":{\(linux)}"].filter { !$0.isEmpty }.joined(separator: ",") + "}"
        #expect(try masks(of: text) == ["/x"] + (isMasked ? PreparedConfig.maskedPaths : []))
    }

    /// With one masked path in its sysfs, no user namespace in it could mount another.
    @Test(
        arguments: [("{}", nil), (#"{"linux":{"maskedPaths":[]}}"#, []), (#"{"linux":{"maskedPaths":null}}"#, nil)]
            as [(String, [String]?)]
    )
    func `a container in which nothing is masked gets no masks`(text: String, masks: [String]?) throws {
        #expect(try self.masks(of: text) == masks)
    }

    // MARK: - Many entries

    /// Each edit parses the text: one for every entry would take hours.
    @Test func `thousands of an earlier creation's entries are replaced`() throws {
        let name = try #require(PreparedConfigTests.first)
        let stale = #"{"path":"vtpm-hook","args":["","--prepared","\#(name.text)"]}"#
        let hooks = Array(repeating: stale, count: 4000).joined(separator: ",")
        let rules = Array(repeating: rule(10, 224), count: 8000).joined(separator: ",")
        let devices = "{\"devices\":[\(rules),\(rule(1, 3))]}"
        let text = "{\"hooks\":{\"poststop\":[\(hooks)]},\"linux\":{\"resources\":\(devices)}}"
        let json = try parsed(PreparedConfigTests.edited(text, PreparedConfigTests.second))
        let left = json.value(at: ["linux", "resources", "devices"])?.elements?.map { $0["minor"]?.integer }
        #expect(left == [3, 60, 65537])
    }
}
