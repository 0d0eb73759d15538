import Foundation
import JSONText
import Launch
import Platform
import Testing

/// What a statement says of a `config.json`, and what it leaves out.
struct StatementTests {
    /// Each of these is another launch, and the difference names it.
    @Test(
        arguments: [
            (#""exec app""#, #""exec other""#, "process.args.2"),
            (#""CAP_CHOWN""#, #""CAP_SYS_ADMIN""#, "process.capabilities.bounding.0"),
            (#""destination": "/srv""#, #""destination": "/usr""#, "mounts.5.destination"),
            (#""source": "/srv/public""#, #""source": "/srv/secret""#, "mounts.5.source"),
            (#""rbind","#, #""rbind", "shared","#, "mounts.2.options.1"),
            (
                #""defaultAction": "SCMP_ACT_ERRNO""#, #""defaultAction": "SCMP_ACT_ALLOW""#,
                "linux.seccomp.defaultAction"
            ),
            ("18446744073709551615", "18446744073709551614", "linux.seccomp.digest"),
            (#""/proc/kcore""#, #""/proc/other""#, "linux.maskedPaths.1"),
            (#""allow": false"#, #""allow": true"#, "linux.deviceRules.0.allow"),
            (#""type": "uts""#, #""type": "time""#, "linux.namespaces.5.type"),
            (#""uid": 0"#, #""uid": 1"#, "process.user.uid"),
            (#""docker-default""#, #""unconfined""#, "process.apparmorProfile"),
            ("PATH=/usr/local/bin:/usr/bin", "PATH=/tmp", "process.environment.0.value"),
            ("TOKEN=hunter2", "OTHER=hunter2", "process.environment.0.name"),
            ("0 2147483647", "0 0", "linux.sysctl.net.ipv4.ping_group_range"),
        ]
    )
    func anotherConfigurationIsAnotherLaunch(old: String, new: String, path: String) throws {
        let config = try fixture("docker-1.json")
        let changed = config.replacingOccurrences(of: old, with: new)
        try #require(changed != config)
        let paths = try differences(statement(config), statement(changed))
        #expect(paths.contains(path), "\(paths)")
    }

    /// Each of these says nothing of what runs.
    @Test(
        arguments: [
            ("TOKEN=hunter2", "TOKEN=other"), (#""oomScoreAdj": 0"#, #""oomScoreAdj": 7"#),
            (#""limit": -1"#, #""limit": 100"#), (#""terminal": true"#, #""terminal": false"#),
            (#""ociVersion": "1.2.0""#, #""ociVersion": "1.3.0""#),
            (#""vtpm-hook","#, #""vtpm-hook", "--config", "/etc/other","#),
        ]
    )
    func whatSaysNothingOfWhatRunsIsLeftOut(old: String, new: String) throws {
        let config = try fixture("docker-1.json")
        let changed = config.replacingOccurrences(of: old, with: new)
        try #require(changed != config)
        #expect(try statement(config) == statement(changed))
    }

    @Test func theOrderOfASetDoesNotCount() throws {
        let one = #"{"process":{"capabilities":{"bounding":["CAP_A","CAP_B"]},"env":["B=1","A=2"]}}"#
        let other = #"{"process":{"env":["A=2","B=1"],"capabilities":{"bounding":["CAP_B","CAP_A","CAP_A"]}}}"#
        #expect(try statement(one) == statement(other))
    }

    /// Of two variables with one name it depends on the program which one counts.
    @Test func theOrderOfOneVariableCounts() throws {
        let (one, other) = (
            #"{"process":{"env":["PATH=/a","PATH=/b"]}}"#, #"{"process":{"env":["PATH=/b","PATH=/a"]}}"#
        )
        #expect(try statement(one) != statement(other))
    }

    /// The first `=` ends the name, whatever character it is part of for Unicode.
    @Test func aCombiningCharacterHidesNoName() throws {
        for mark in ["\u{301}", "\u{200d}", "\u{fe0f}"] {
            let one = try statement("{\"process\":{\"env\":[\"PATH=\(mark):/a\",\"TOKEN=\(mark)s3cr=et\"]}}")
            let other = try statement("{\"process\":{\"env\":[\"PATH=\(mark):/b\",\"TOKEN=\(mark)other\"]}}")
            #expect(try differences(one, other) == ["process.environment.0.value"])
            #expect(!text(one).contains("s3cr"))
        }
    }

    @Test func anEntryWithoutAValueMayBeASecret() throws {
        let text = text(try statement(#"{"process":{"env":["hunter2","LC_ALL=C"]}}"#))
        #expect(!text.contains("hunter2") && text.contains(#"[{"name":""},{"name":"LC_ALL","value":"C"}]"#), "\(text)")
    }

    @Test(
        arguments: [
            ("io.kubernetes.cri.image-name", "a/b@sha256:\(String(repeating: "a", count: 64))", true),
            ("io.kubernetes.cri-o.ImageName", "a/b:1@sha512:\(String(repeating: "0", count: 128))", true),
            ("io.kubernetes.cri-o.ImageRef", "a@sha256:\(String(repeating: "f", count: 64))", true),
            ("io.kubernetes.cri.image-name", "a/b:latest", false),
            ("io.kubernetes.cri.image-name", "a/b@sha256:\(String(repeating: "A", count: 64))", false),
            ("io.kubernetes.cri.image-name", "a/b@sha256:\(String(repeating: "a", count: 63))", false),
            ("io.kubernetes.cri.image-name", "a/b@md5:\(String(repeating: "a", count: 32))", false),
            ("org.opencontainers.image.base.digest", "sha256:\(String(repeating: "a", count: 64))", false),
        ]
    )
    func anImageIsNamedByItsDigest(key: String, value: String, isStated: Bool) throws {
        let text = text(try statement(#"{"annotations":{"\#(key)":"\#(value)"}}"#))
        if isStated {
            let digest = try #require(value.split(separator: "@").last)
            #expect(text.contains(#""image":{"digest":"\#(digest)","statedBy":"annotation \#(key)"}"#), "\(text)")
        } else {
            #expect(text.contains(#""image":{"digest":"not stated"}"#), "\(text)")
        }
    }

    /// An engine sets its own annotations after those of a pod's author, who may set the other engine's.
    @Test(
        arguments: [
            ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"],
            ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageRef"],
        ]
    )
    func twoEnginesStateNothing(keys: [String]) throws {
        let digest = "a@sha256:\(String(repeating: "a", count: 64))"
        let text = text(try statement(#"{"annotations":{"\#(keys[0])":"\#(digest)","\#(keys[1])":"b:1"}}"#))
        #expect(text.contains(#""image":{"digest":"not stated"}"#), "\(text)")
    }

    @Test func twoDigestsStateNothing() throws {
        let (one, other) = (String(repeating: "a", count: 64), String(repeating: "b", count: 64))
        func image(_ name: String, _ reference: String) throws -> String {
            text(
                try statement(
                    #"{"annotations":{"io.kubernetes.cri-o.ImageName":"\#(name)","io.kubernetes.cri-o.ImageRef":"\#(reference)"}}"#
                )
            )
        }
        #expect(try image("x@sha256:\(one)", "x@sha256:\(other)").contains(#""image":{"digest":"not stated"}"#))
        #expect(try image("x:1", "x@sha256:\(other)").contains(#""digest":"sha256:\#(other)""#))
        #expect(try image("x@sha256:\(one)", "x@sha256:\(one)").contains(#""digest":"sha256:\#(one)""#))
    }

    @Test func annotationsEnterByTheirNames() throws {
        let text = text(try statement(#"{"annotations":{"secret":"hunter2","run.oci.handler":"krun"}}"#))
        #expect(text.contains(#"[{"name":"run.oci.handler","value":"krun"},{"name":"secret"}]"#), "\(text)")
        #expect(!text.contains("hunter2"))
    }

    @Test func theRootIsMeasuredOrSaidNotToBe() throws {
        let without = text(try statement("{}"))
        #expect(without.contains(#""root":{"content":"not measured","readonly":false}"#), "\(without)")
        let with = text(try statement("{}", root: .tree([0xab, 0x01])))
        #expect(with.contains(#""content":{"tree":"sha256:ab01"}"#), "\(with)")
    }

    /// What this version knows nothing of is not passed over in silence.
    @Test func unknownMembersAreNamed() throws {
        let text = text(
            try statement(#"{"newThing":1,"process":{"other":2},"mounts":[{"more":true}],"linux":{"x":{}}}"#)
        )
        #expect(
            text.replacing(/"digest":"sha256:[0-9a-f]{64}",/, with: "").contains(
                #""otherMembers":[{"path":["linux","x"]},{"path":["mounts","0","more"]},{"path":["newThing"]},{"path":["process","other"]}]"#
            ),
            "\(text)"
        )
        let (one, other) = (try statement(#"{"vm":{"path":"/a"}}"#), try statement(#"{"vm":{"path":"/b"}}"#))
        #expect(try differences(one, other) == ["otherMembers.0.digest"])
    }

    /// runc would take the second for the first.
    @Test(
        arguments: [
            (#"{"process":{"args":["good"],"Args":["evil"]}}"#, "process.Args", "args"),
            (#"{"Process":{}}"#, "Process", "process"), (#"{"mounts":[{"Type":"bind"}]}"#, "mounts.0.Type", "type"),
            (#"{"linux":{"seccomp":{"DefaultAction":"x"}}}"#, "linux.seccomp.DefaultAction", "defaultAction"),
            (#"{"linux":{"mas\u212aedPaths":[]}}"#, "linux.mas\u{212a}edPaths", "maskedPaths"),
        ]
    )
    func aNameInAnotherCaseIsRefused(config: String, path: String, name: String) throws {
        let failure = #expect(throws: Failure.self) { try statement(config) }
        let expected =
            "cannot measure the launch: \(path.excerpt) of config.json is not \"\(name)\", and runc takes it for that"
        #expect(failure?.description == expected)
    }

    @Test(
        arguments: [
            (#"{"process":[]}"#, "process of config.json is an array, and no object"),
            (#"{"process":{"args":"sh"}}"#, "process.args of config.json is a string, and not an array"),
            (#"{"process":{"args":[1]}}"#, "process.args of config.json is a number, and not a string"),
            (#"{"root":{"readonly":"yes"}}"#, "root.readonly of config.json is a string, and not true or false"),
            (#"{"annotations":{"a":1}}"#, "annotations.a of config.json is a number, and not a string"),
            ("[]", " of config.json is an array, and no object"),
        ]
    )
    func aValueOfAnotherTypeIsRefused(config: String, why: String) throws {
        let failure = #expect(throws: Failure.self) { try statement(config) }
        #expect(failure?.description == "cannot measure the launch: \(why)")
    }

    @Test func nullIsAsGoodAsNothing() throws {
        let nulls = #"{"process":{"args":null,"capabilities":null,"user":null},"mounts":null,"linux":null,"root":null}"#
        #expect(try statement(nulls) == statement("{}"))
    }

    /// What would need more than a TPM is given is an error that says what helps.
    @Test func aStatementThatIsTooLargeIsRefused() throws {
        let argument = String(repeating: "x", count: 300_000)
        let failure = #expect(throws: Failure.self) {
            try statement(#"{"process":{"args":["\#(argument)"]}}"#).event()
        }
        #expect(failure?.hint == "measure = false in [launch] creates it without")
    }

    @Test func aCommandHasAStatementOfItsOwn() throws {
        let text = text(LaunchStatement.ofCommand)
        #expect(text == #"{"command":"not measured","type":"container-vtpm launch","version":1}"#)
    }
}
