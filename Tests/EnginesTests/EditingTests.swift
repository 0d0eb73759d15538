import Engines
import JSONText
import Platform
import TOMLText
import Testing

/// What each engine's text gets, what it loses again, and what is refused.
@Suite struct EditingTests {
    static let wrapper = "/usr/libexec/container-vtpm/vtpm-runtime"

    private static func docker(isDefault: Bool = false) -> DockerText {
        DockerText(path: "f", .runtime(wrapper, isDefault: isDefault))
    }

    private static func containerd(isDefault: Bool = false, isDropIn: Bool = false) -> ContainerdText {
        ContainerdText(path: "f", wrapper: wrapper, isDefault: isDefault, newVersion: 2, isDropIn: isDropIn)
    }

    /// An editor, and a text that it has to bear.
    struct Case: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let editor: any EngineText
        let text: String

        init(_ name: String, _ editor: any EngineText, _ text: String) {
            (testDescription, self.editor, self.text) = (name, editor, text)
        }
    }

    static let cases =
        [false, true].flatMap { isDefault in
            [
                Case("docker", docker(isDefault: isDefault), Fixture.docker),
                Case("docker, one line", docker(isDefault: isDefault), #"{"runtimes":{},"debug":true}"#),
                Case("docker, empty", docker(isDefault: isDefault), "{}"),
                Case("containerd of Debian 13", containerd(isDefault: isDefault), Fixture.containerdDebian13),
                Case("containerd, version 2", containerd(isDefault: isDefault), Fixture.containerdDefault2),
                Case("containerd, version 3", containerd(isDefault: isDefault), Fixture.containerdDefault3),
                Case("containerd, no last line feed", containerd(isDefault: isDefault), "version = 2"),
                Case(
                    "containerd, no default yet",
                    containerd(isDefault: isDefault),
                    "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]"
                ),
                Case("containerd, drop-in", containerd(isDefault: isDefault, isDropIn: true), "version = 3\n"),
            ]
        } + [
            Case("docker, CDI", DockerText(path: "f", .cdi), Fixture.docker),
            Case("k3s", TemplateText(path: "f", wrapper: wrapper, version: 2), Fixture.k3s),
            Case("k3s, new", TemplateText(path: "f", wrapper: wrapper, version: 3), "{{ template \"base\" . }}\n"),
            Case("crio", DropInText.crio(path: "f", wrapper: wrapper, isDefault: true), ""),
            Case("podman", DropInText.podman(path: "f", wrapper: wrapper, isDefault: true), ""),
        ]

    @Test(arguments: cases)
    func `what was added can be undone to the byte`(of editing: Case) throws {
        let before = Array(editing.text.utf8)
        #expect(try editing.text.isEmpty || !editing.editor.isComplete(before))
        var text = EditedText(before)
        try editing.editor.add(to: &text)
        #expect(try editing.editor.isComplete(text.bytes))
        #expect(EditedText.undoing(text.splices, in: text.bytes) == before)
        // The record keeps what was put in, and the name of a default runtime; nothing else of the file.
        for splice in text.splices {
            #expect(splice.removed.isEmpty || text.formerDefault != nil && splice.removed.count <= 8)
            #expect(!String(decoding: splice.inserted, as: UTF8.self).contains("secret"))
        }
    }

    @Test(arguments: cases)
    func `after another's edit ours alone are taken out`(of editing: Case) throws {
        var text = EditedText(Array(editing.text.utf8))
        try editing.editor.add(to: &text)
        let former = FormerEntries(
            defaultRuntime: text.formerDefault,
            switchedCDIOn: editing.testDescription == "docker, CDI"
        )
        var other = EditedText(text.bytes)
        let isJSON = editing.testDescription.hasPrefix("docker")
        if isJSON {
            var json = try JSONText(parsing: text.bytes, path: "f", limit: 1 << 20)
            try json.set("{\"mtu\": 1400}", at: ["others"])
            other = EditedText(json.bytes)
        } else {
            other = EditedText(text.bytes + Array("[others]\nmtu = 1400\n".utf8))
        }
        let changed = other.bytes
        try editing.editor.remove(from: &other, former)
        #expect(try editing.text.isEmpty || !editing.editor.isComplete(other.bytes))
        #expect(other.bytes.count < changed.count)
        if isJSON {
            let json = try JSONText(parsing: other.bytes, path: "f", limit: 1 << 20)
            #expect(json.value(at: ["others", "mtu"])?.integer == 1400)
            #expect(json.value(at: ["runtimes", "vtpm"]) == nil)
            let before = try JSONText(parsing: Array(editing.text.utf8), path: "f", limit: 1 << 20)
            #expect(json.value(at: ["default-runtime"])?.string == before.value(at: ["default-runtime"])?.string)
        } else {
            let rest = String(decoding: other.bytes, as: UTF8.self)
            #expect(!rest.contains("vtpm") && rest.hasSuffix("[others]\nmtu = 1400\n"))
        }
    }

    @Test func `containerd's handler is as runc's, and its own stays`() throws {
        var text = EditedText(Array(Fixture.containerdDefault2.utf8))
        try Self.containerd(isDefault: true).add(to: &text)
        let document = try Document(parsing: text.bytes, path: "f")
        let containerd = ["plugins", "io.containerd.grpc.v1.cri", "containerd"]
        let options = containerd + ["runtimes", "vtpm", "options"]
        #expect(document.value(at: options + ["SystemdCgroup"]) == .boolean(true))
        #expect(document.value(at: options + ["BinaryName"]) == .string(Self.wrapper))
        #expect(document.value(at: containerd + ["default_runtime_name"]) == .string("vtpm"))
        #expect(text.formerDefault == "runc")
        let annotations = document.value(at: containerd + ["runtimes", "vtpm", "pod_annotations"])
        #expect(annotations == .array([.string("org.container-vtpm.*")]))
    }

    /// containerd 1.6 takes the file's runtimes in place of its own, and then has no default.
    @Test func `a file without runtimes keeps runc`() throws {
        var text = EditedText(Array(Fixture.containerdDebian13.utf8))
        try Self.containerd().add(to: &text)
        let document = try Document(parsing: text.bytes, path: "f")
        let runc = ["plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes", "runc", "runtime_type"]
        #expect(document.value(at: runc) == .string("io.containerd.runc.v2"))
    }

    private static let foreign = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.vtpm]\n"

    static let refused: [(any EngineText, String, String)] = [
        (docker(), #"{"runtimes": {"vtpm": {"path": "/opt/x"}}}"#, "its runtime \"vtpm\" is another program than ours"),
        (docker(), #"{"runtimes": []}"#, "\"runtimes\" is an array and not an object"),
        (docker(), #"{"debug": true, "d\u0065bug": false}"#, "line 1: \"debug\" is given twice in one object"),
        (docker(), "[]", "it is no JSON object"), (docker(), "", "line 1: it ends where a value is missing"),
        (docker(isDefault: true), #"{"default-runtime": "a b"}"#, "its default runtime has no plain name"),
        (containerd(), Fixture.containerdOfDocker, "it is of version 1, which has other tables"),
        (containerd(), "version = 9\n", "its version is not known"),
        (containerd(), "version = 2\n" + foreign, "it has a runtime \"vtpm\" that vtpmctl did not put there"),
        (containerd(), "version = 2\nversion = 2\n", "line 2: \"version\" is given already in line 1"),
        (containerd(), "version = 2\nplugins = {}\n", "line 4: \"plugins\" is given already in line 2"),
        (
            containerd(isDefault: true),
            "version = 2\nplugins.\"io.containerd.grpc.v1.cri\".containerd.snapshotter = \"x\"\n",
            "line 4: \"containerd\" is given already in line 2"
        ),
        (
            TemplateText(path: "f", wrapper: wrapper, version: 2), "{{ if .A }}\na = 1\n{{ else }}\na = 2\n{{ end }}\n",
            "it is a template beyond what vtpmctl understands (line 4: \"a\" is given already in line 2)"
        ),
        (TemplateText(path: "f", wrapper: wrapper, version: 2), "{{ x", "an action of the template is not closed"),
        (
            DropInText.crio(path: "f", wrapper: wrapper, isDefault: false), "a = 1\n",
            "somebody else has written into it"
        ),
    ]

    @Test(arguments: refused.indices)
    func `what is refused`(index: Int) throws {
        let (editor, before, why) = Self.refused[index]
        var text = EditedText(Array(before.utf8))
        let failure = #expect(throws: Failure.self) { try editor.add(to: &text) }
        #expect(failure?.why == why)
    }

    @Test(arguments: [
        "# container-vtpm: begin\n", "# container-vtpm: end\n", "# container-vtpm: begin\n# container-vtpm: begin\n",
    ])
    func `a mark without its other one is refused`(marks: String) throws {
        var text = EditedText(Array(("version = 2\n" + marks).utf8))
        let failure = #expect(throws: Failure.self) { try Self.containerd().remove(from: &text, FormerEntries()) }
        #expect(failure?.why.hasPrefix("one of the comments") ?? false)
    }

    /// Whatever stands between marks that somebody has put elsewhere stays.
    @Test func `others' settings between marks are not taken out`() throws {
        let text = "version = 2\n# container-vtpm: begin\noom_score = 1\n# container-vtpm: end\n"
        var edited = EditedText(Array(text.utf8))
        let failure = #expect(throws: Failure.self) { try Self.containerd().remove(from: &edited, FormerEntries()) }
        #expect(failure?.why == "it would mean something else besides our entries")
    }
}
