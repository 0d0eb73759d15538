import Configuration
import Platform
import RuntimeControl
import Testing
import VTPMProxy

func parse(_ text: String) throws(Failure) -> Configuration {
    try Configuration(parsing: Array(text.utf8), path: "/e/c.toml")
}

/// The reason why a text is refused, without the file's name, which is the same in all.
func refusal(_ text: String) throws -> String {
    let error = #expect(throws: Failure.self) { try parse(text) }
    let line = try #require(error).description
    let prefix = "cannot read /e/c.toml: "
    #expect(line.hasPrefix(prefix) && !line.contains("\n"), "\(line)")
    return String(line.dropFirst(prefix.count))
}

@Suite struct ParsingTests {
    @Test(arguments: ["", "\n", "# nothing\r\n", "\u{FEFF}", "[state]\n[device]\n[key]\n[host-tpm]\n[rollback]\n"])
    func nothingGivenMeansTheDefaults(text: String) throws {
        #expect(try parse(text) == Configuration())
    }

    @Test func theDefaultsAreThose() {
        let configuration = Configuration()
        #expect(configuration.container.selection == .all)
        #expect(!configuration.container.allowsOptOut)
        #expect(configuration.state.source == .container)
        #expect(configuration.state.scope == .none)
        #expect(configuration.state.allowsEphemeral)
        #expect(configuration.state.randomIDs == .persistent)
        #expect(configuration.retention.unusedFor == nil)
        #expect(configuration.key == .file(path: "/var/lib/container-vtpm/keys/master.key"))
        #expect(configuration.nextKey == nil)
        #expect(configuration.device.group == nil)
        #expect(configuration.hostTPM.device == nil)
        #expect(configuration.hostTPM.pcrs == "sha256:0-4,6-14")
        #expect(configuration.rollback.counter == .none)
        #expect(configuration.rollback.nvIndex == 0x0180_7654)
    }

    @Test func aTimeIsANumberAndAUnit() {
        let times: [(String, UInt64?)] = [
            ("90s", 90), ("30m", 1800), ("12h", 43_200), ("30d", 2_592_000), ("8w", 4_838_400), ("0s", 0),
            ("36500d", 36_500 * 86_400), ("36501d", nil), ("", nil), ("d", nil), ("30", nil), ("-1d", nil),
            ("1 d", nil),
            ("1.5d", nil), ("30D", nil), ("99999999999w", nil), ("１d", nil),
        ]
        for (text, seconds) in times { #expect(TimeSpan.seconds(text) == seconds, "\(text)") }
    }

    @Test(arguments: [
        ("persistent", Configuration.State.RandomIDs.persistent), ("ephemeral", .ephemeral), ("30d", .kept(2_592_000)),
    ])
    func whatBecomesOfRandomIDsIsAWordOrATime(word: String, policy: Configuration.State.RandomIDs) throws {
        #expect(try parse("[state]\nrandom-ids = \"\(word)\"").state.randomIDs == policy)
        let text =
            "\(#expect(throws: Failure.self) { try parse("[state]\nrandom-ids = \"never\"") }?.description ?? "")"
        #expect(text.contains("line 2") && text.contains("\"persistent\", \"ephemeral\" or a time"))
    }

    @Test func everyKeyHasItsEffect() throws {
        let configuration = try parse(
            """
            [container]
            tpm = "all"
            opt-out = true

            [state]
            id = "annotation"
            scope = "cri-o"
            ephemeral = false
            random-ids = "12h"

            [retention]
            unused-for = "8w"

            [manufacture]
            keys = ["srk-rsa-2048", "ek-p256"]
            restore-keys = false

            [device]
            group = 59

            [key]
            source = "command"
            command = ["/sbin/vtpm-key", "", "-x y"]
            timeout = 60
            next = { source = "credential", credential = "other", directory = "/run/credentials/x" }

            [host-tpm]
            device = "/dev/tpmrm1"
            pcrs = "sha1:0+sha512:23"

            [rollback]
            counter = "host-tpm"
            nv-index = 0x01bf_ffff
            """
        )
        #expect(configuration.container.allowsOptOut)
        #expect(configuration.device.group == .id(59))
        #expect(configuration.state.source == .annotation)
        #expect(configuration.state.scope == .crio)
        #expect(!configuration.state.allowsEphemeral)
        #expect(configuration.state.randomIDs == .kept(12 * 3600))
        #expect(configuration.retention.unusedFor == 8 * 7 * 86_400)
        #expect(configuration.manufacture.keys.elements == [.endorsementP256, .storageRSA])
        #expect(configuration.manufacture.requestedKeys.ofExisting == [])
        #expect(configuration.key == .command(["/sbin/vtpm-key", "", "-x y"], timeout: 60))
        #expect(configuration.nextKey == .credential(name: "other", directory: "/run/credentials/x"))
        #expect(configuration.hostTPM.device == "/dev/tpmrm1")
        #expect(configuration.hostTPM.pcrs == "sha1:0+sha512:23")
        #expect(configuration.rollback.counter == .hostTPM)
        #expect(configuration.rollback.nvIndex == 0x01bf_ffff)
    }

    @Test(arguments: [
        ("file = \"/k\"", Configuration.Key.file(path: "/k")),
        ("source = \"file\"", .file(path: Configuration.Key.standardFile)),
        ("source = \"credential\"", .credential(name: "container-vtpm.key", directory: nil)),
        ("source = \"command\"\ncommand = [\n  \"/c\", # why\n]", .command(["/c"], timeout: 10)),
        ("source = \"host-tpm\"", .hostTPM),
    ])
    func eachSourceOfTheKey(text: String, key: Configuration.Key) throws {
        let configuration = try parse("[key]\n\(text)")
        #expect(configuration.key == key)
        #expect(configuration.rollback.counter == (key == .hostTPM ? .hostTPM : .none))
    }

    @Test(
        arguments: [
            ("0", .id(0)), ("4294967294", .id(4_294_967_294)), ("\"tss\"", .name("tss")),
            ("\"_a-b.c$\"", .name("_a-b.c$")),
            ("\"59x\"", .name("59x")),
        ] as [(String, Configuration.Device.Group)]
    )
    func aGroupIsAnIDOrAName(value: String, group: Configuration.Device.Group) throws {
        #expect(try parse("[device]\ngroup = \(value)").device.group == group)
    }

    @Test(arguments: [
        ("-1", "must be 0 to 4294967294"), ("4294967295", "must be 0 to 4294967294"),
        ("true", "must be a string, not true or false"), ("\"59\"", "must be a group's ID or its name, not \"59\""),
        ("\"\"", "must be a group's ID or its name"), ("\"a:b\"", "must be a group's ID or its name"),
        ("\"a b\"", "must be a group's ID or its name"), ("\"a\\n\"", "must be a group's ID or its name"),
        ("\"ä\"", "must be a group's ID or its name"),
    ])
    func refusesWhatIsNoGroup(value: String, reason: String) throws {
        let line = try refusal("[device]\ngroup = \(value)")
        #expect(line.hasPrefix("line 2: \"group\" \(reason)"), "\(line)")
    }

    @Test func theCounterCanBeSwitchedOff() throws {
        let text = "[key]\nsource = \"host-tpm\"\n[rollback]\ncounter = \"none\""
        #expect(try parse(text).rollback.counter == .none)
    }

    @Test(arguments: [
        (
            "[colour]",
            "line 1: \"colour\" is not known (known tables: container, state, retention, manufacture, authority, device, key, host-tpm, rollback, runtime, launch, proof)"
        ),
        (
            "\n\nid = 7\n",
            "line 3: \"id\" is not known (known tables: container, state, retention, manufacture, authority, device, key, host-tpm, rollback, runtime, launch, proof)"
        ),
        (
            "[state]\nname = 1",
            "line 2: \"name\" is no key of [state] (known keys of [state]: id, scope, bundles, ephemeral, random-ids)"
        ),
        (
            "[key.next.more]",
            "line 1: \"more\" is no key of [key.next] (known keys of [key.next]: "
                + "source, file, credential, directory, command, timeout)"
        ),
        ("[state]\nID = \"container\"", "line 2: \"ID\" is no key of [state] "),
        ("[rollback]\n\"nv-index\\u0301\" = 1", "line 2: \"nv-index\u{301}\" is no key of [rollback] "),
        ("state.colour = 1\n[key]", "line 1: \"colour\" is no key of [state] "),
        ("state = { id = \"container\", colour = 1 }", "line 1: \"colour\" is no key of [state] "),
        ("[key]\n[zzz]\n[aaa]", "line 2: \"zzz\" is not known"),
    ])
    func refusesUnknownNames(text: String, reason: String) throws {
        let line = try refusal(text)
        #expect(line.hasPrefix(reason), "\(line)")
    }

    @Test(arguments: [
        ("state = 7", "line 1: \"state\" must be a table, not an integer"),
        ("state = []", "line 1: \"state\" must be a table, not an array"),
        ("[state]\nid = true", "line 2: \"id\" must be a string, not true or false"),
        ("[state]\n\nephemeral = \"true\"", "line 3: \"ephemeral\" must be true or false, not a string"),
        (
            "[key]\nsource = \"command\"\ncommand = \"/c\"",
            "line 3: \"command\" must be an array of strings, not a string"
        ),
        (
            "[key]\nsource = \"command\"\n# c\ncommand = [\n\"/c\",\n7,\n]\n",
            "line 4: \"command\" must be an array of strings, and holds an integer"
        ),
        ("[rollback]\nnv-index = \"0x01807654\"", "line 2: \"nv-index\" must be an integer, not a string"),
        ("[key]\nnext = \"a\"", "line 2: \"next\" must be a table, not a string"),
    ])
    func refusesWrongTypes(text: String, reason: String) throws {
        #expect(try refusal(text) == reason)
    }

    @Test(arguments: [
        (
            "[state]\nid = \"Container\"",
            "line 2: \"id\" cannot be \"Container\" (known: \"container\", \"annotation\", \"pod\")"
        ),
        (
            "[state]\nscope = \"docker\"",
            "line 2: \"scope\" cannot be \"docker\" (known: \"containerd\", \"cri-o\", \"nerdctl\", \"none\")"
        ),
        ("[key]\nsource = \"\"", "line 2: \"source\" cannot be \"\" "),
        ("[key]\nfile = \"k\"", "line 2: \"file\" must be an absolute path"),
        ("[key]\nfile = \"\"", "line 2: \"file\" must be an absolute path"),
        ("[key]\nfile = \"/\"", "line 2: \"file\" must be an absolute path"),
        ("[key]\nfile = \"/\u{301}k\"", ""),
        ("[host-tpm]\ndevice = \"tpm0\"", "line 2: \"device\" must be an absolute path"),
        ("[key]\nsource = \"command\"", "line 1: [key] needs \"command\" for the source \"command\""),
        ("[key]\nsource = \"command\"\ncommand = []", "line 3: \"command\" must name a program"),
        ("[key]\nsource = \"command\"\ncommand = [\"vtpm-key\"]", "line 3: \"command\" must be an absolute path"),
        ("[key]\nsource = \"command\"\ncommand = [\"/c\"]\ntimeout = 0", "line 4: \"timeout\" must be 1 to 60"),
        ("[key]\nsource = \"command\"\ncommand = [\"/c\"]\ntimeout = 61", "line 4: \"timeout\" must be 1 to 60"),
        ("[rollback]\nnv-index = 0x017fffff", "line 2: \"nv-index\" must be 0x1800000 to 0x1bfffff"),
        ("[rollback]\nnv-index = 0x01c00000", "line 2: \"nv-index\" must be 0x1800000 to 0x1bfffff"),
        ("[rollback]\nnv-index = -1", "line 2: \"nv-index\" must be 0x1800000 to 0x1bfffff"),
        (
            "[proof]\npcrs = \"sha1:0\"",
            "line 2: \"pcrs\" cannot be \"sha1:0\" (it selects PCRs of the bank sha256, for example \"sha256:0-7\")"
        ),
        (
            "[proof]\npcrs = \"sha256:0+sha384:0\"",
            "line 2: \"pcrs\" cannot be \"sha256:0+sha384:0\""
        ),
        ("[rollback]\ncounter = \"file\"", "line 2: \"counter\" cannot be \"file\" (known: \"none\", \"host-tpm\")"),
        ("[key]\n[key.next]\n", "line 2: [key.next] is the same key as [key] "),
        ("[key]\nfile = \"/k\"\n\n[key.next]\nfile = \"/k\"", "line 4: [key.next] is the same key as [key] "),
    ])
    func refusesBadValues(text: String, reason: String) throws {
        guard !reason.isEmpty else {
            // A combining character after the slash changes what Swift takes for the first character, not the path.
            #expect(throws: Never.self) { try parse(text) }
            return
        }
        let line = try refusal(text)
        #expect(line.hasPrefix(reason), "\(line)")
    }

    @Test(arguments: ["file", "credential", "command", "host-tpm"])
    func refusesKeysOfAnotherSource(source: String) throws {
        let users = [
            "file": "file", "credential": "credential", "directory": "credential", "command": "command",
            "timeout": "command",
        ]
        let values = [
            "file": "\"/f\"", "credential": "\"c\"", "directory": "\"/d\"", "command": "[\"/c\"]", "timeout": "1",
        ]
        for (name, value) in values where users[name] != source {
            for table in ["key", "key.next"] {
                let needed = source == "command" ? "command = [\"/c\"]\n" : ""
                let text = "[\(table)]\nsource = \"\(source)\"\n\(needed)\n\(name) = \(value)"
                let line = needed.isEmpty ? 4 : 5
                #expect(try refusal(text) == "line \(line): \"\(name)\" is not used by the source \"\(source)\"")
            }
        }
    }

    @Test(arguments: ["", ".", "..", "a/b", "a:b", "a\u{7f}", "ä", String(repeating: "a", count: 256)])
    func refusesWhatIsNoCredentialsName(name: String) throws {
        let text = "[key]\nsource = \"credential\"\ncredential = \"\(name == "a\u{7f}" ? "a\\u007f" : name)\""
        #expect(try refusal(text).hasPrefix("line 3: \"credential\" must be the name of a credential"))
    }

    @Test(arguments: [
        "sha256:0", "sha256:23", "sha1:0-23", "sha256:0-4,6-14", "sha256:7+sha384:0,1+sha512:2+sha1:3", "sha256:3-3",
    ])
    func acceptsSelectionsOfPCRs(text: String) throws {
        #expect(try parse("[host-tpm]\npcrs = \"\(text)\"").hostTPM.pcrs == text)
    }

    @Test(arguments: [
        "", "sha256", "sha256:", "sha256:24", "sha256:0-24", "sha256:4-0", "sha256:-1", "sha256:1-", "sha256:1-2-3",
        "sha256:0,", "sha256:,0", "sha256: 0", "sha256:0 ", "SHA256:0", "sm3_256:0", "sha256:0+", "+sha256:0",
        "sha256:0+sha256:1", "sha256:0:1", "sha256:+1", "sha256:٣", "sha256:007", "sha256:0x1", "sha256:0\n",
        "sha256:7,7", "sha256:0-4,4-14", "sha256:00-07",
    ])
    func refusesWhatSelectsNoPCRs(text: String) throws {
        let line = try refusal("[host-tpm]\npcrs = \"\(text.replacing("\n", with: "\\n"))\"")
        #expect(line.hasPrefix("line 2: \"pcrs\" cannot be "), "\(line)")
    }
}
