import Platform
import RuntimeControl
import Testing

@testable import RuntimeWrapper

/// What engines write, and what they could write instead.
@Suite struct InvocationTests {
    private func read(_ words: String) -> Invocation {
        Invocation(["vtpm-runtime"] + words.split(separator: " ").map(String.init))
    }

    private func expectRefusal(_ words: String, _ why: String) {
        let invocation = read(words)
        #expect(invocation.creation == nil)
        #expect(invocation.refusal?.why == why, "\(words)")
    }

    @Test(arguments: [
        // containerd
        "--root R --log L --log-format json --systemd-cgroup create --bundle B --pid-file P ID",
        "--root R --log L --log-format json create --bundle B --pid-file P --console-socket S --no-pivot ID",
        // conmon, for podman and CRI-O
        "--root=R --systemd-cgroup --log-format=json --log=L create --bundle B --pid-file P ID",
        "--log-level=debug --log=L --log-format=json create --bundle B --pid-file P --preserve-fds 3 ID",
        // by hand
        "--log L --log-format json create -b B ID", "--log L --log-format json create -bB ID",
        "--log L --log-format json create -b=B ID", "--log L --log-format json create -bundle B ID",
        "--log L --log-format json create -bundle=B ID", "--log L --log-format json create --bundle=B ID",
        "--log L --log-format json create --bund B ID", "--log L --log-format json create --b=B ID",
        "--log L --log-format json create ID --bundle B", "-log L -log-format json create --bundle B -- ID",
        "--debug -l L --log-format=json --some=other create --bundle B --some=other ID",
        "--log L --log-format json create -bundle B -pidfd-socket S -no-pivot -no-subreaper -d ID",
        "--log L --log-format json create --bundle B --help=false ID",
    ])
    func `a creation is understood`(words: String) {
        var expected = Invocation([])
        expected.creation = Invocation.Creation(verb: .create, id: "ID", bundle: "B")
        (expected.log, expected.logsJSON) = ("L", true)
        #expect(read(words) == expected)
    }

    @Test(arguments: [("run -d ID", "run"), ("restore --image-path I --work-path W ID", "restore")])
    func `other verbs create too`(words: String, verb: String) {
        let invocation = read(words)
        #expect(invocation.creation?.verb.rawValue == verb)
        #expect(invocation.creation?.id == "ID" && invocation.creation?.bundle == nil && invocation.refusal == nil)
        #expect(invocation.log == nil && !invocation.logsJSON)
    }

    /// After `--` there are no options: runc takes an ID that looks like one.
    @Test(arguments: ["--help", "-b", "--", "--bundle=C"])
    func `an ID can look like an option`(id: String) {
        let creation = Invocation.Creation(verb: .create, id: id, bundle: "B")
        #expect(read("create --bundle B -- \(id)").creation == creation)
    }

    /// A value is no option and no verb.
    @Test func `values are passed over`() {
        let creation = Invocation.Creation(verb: .create, id: "ID", bundle: "--help")
        #expect(read("--root create create --bundle --help --pid-file -h ID").creation == creation)
        #expect(read("--root create state ID") == Invocation([]))
    }

    @Test(arguments: [
        "", "--version", "--help", "state ID", "--root=R start ID", "kill ID KILL", "delete --force ID",
        "exec -b B ID sh",
        "update --resources - ID", "features", "undo ID", "no-such-verb create", "--no-such-option state ID",
        "--no-such-option", "--", "create --help", "create -h", "run --bundle B --usage", "create -? ID", "CREATE ID",
    ])
    func `what creates nothing goes on`(words: String) {
        #expect(read(words) == Invocation([]))
    }

    @Test(arguments: [
        ("create", "there is no container ID"), ("create --bundle B", "there is no container ID"),
        ("create --bundle B --", "there is no container ID"),
        ("create --bundle B ID OTHER", "there are two container IDs: OTHER is one too many"),
        ("create ID -- --bundle=B", "there are two container IDs: --bundle=B is one too many"),
        ("create --no-such-option value ID", "there are two container IDs: ID is one too many"),
        ("create ID --bundle", "--bundle has no value, or is there twice"),
        ("create ID -b", "-b has no value, or is there twice"),
        ("create --bundle A -b B ID", "-b has no value, or is there twice"),
        ("run --bundle A --bundle A ID", "--bundle has no value, or is there twice"),
        ("create -f F ID", "-f names another file than the bundle's config.json"),
        ("create -fF ID", "-fF names another file than the bundle's config.json"),
        ("create --config F ID", "--config names another file than the bundle's config.json"),
        ("create --config=F ID", "--config=F names another file than the bundle's config.json"),
        ("run --conf F ID", "--conf names another file than the bundle's config.json"),
        ("--no-such-option create --bundle B ID", "the option --no-such-option is not known"),
        ("--no-such-option value run ID", "the option --no-such-option is not known"),
        ("-x restore ID", "the option -x is not known"),
        ("run -dbB ID", "-dbB may be several options, and name a bundle or another config.json"),
        ("run -dfF ID", "-dfF may be several options, and name a bundle or another config.json"),
        ("create -xb=B ID", "-xb=B may be several options, and name a bundle or another config.json"),
        ("create -b\u{301}B ID", "-b\u{301}B may be several options, and name a bundle or another config.json"),
    ])
    func `a creation that is not understood is refused`(words: String, why: String) {
        expectRefusal(words, why)
    }

    @Test func `an empty ID is none`() {
        #expect(Invocation(["", "create", ""]).refusal?.why == "there is no container ID")
    }

    /// To crun this is the bundle `undleX`, and to runc an error: it is never the working directory.
    @Test func `what only begins like a long option is a short one`() {
        #expect(read("create -bundleX ID").creation?.bundle == "undleX")
    }

    /// The engine looks for the error there.
    @Test func `a refusal has its log`() {
        let invocation = read("--log L --log-format json create")
        #expect(invocation.refusal != nil && invocation.log == "L" && invocation.logsJSON)
    }
}
