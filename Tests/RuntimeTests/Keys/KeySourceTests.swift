import Configuration
import Crypto
import Glibc
import Platform
import RuntimeKeys
import Testing

@testable import RuntimeState

/// The sources that get the key from elsewhere, and the forms that it comes in.
@Suite struct KeySourceTests {
    let temporary: TemporaryDirectory
    /// 32 bytes that are no text.
    let key = [UInt8](0xe0...0xff)

    init() throws {
        temporary = try TemporaryDirectory()
        _ = try temporary.directory("credentials")
    }

    func load(_ source: Configuration.Key, credentialsDirectory: String? = nil) throws -> [UInt8] {
        var configuration = Configuration()
        configuration.key = source
        return try MasterKeyProvider(
            configuration,
            keysPath: "\(temporary.path)/keys",
            credentialsDirectory: credentialsDirectory
        ).load(isFirstUse: true).current.key.withBytes { Array($0) }
    }

    func refusal(_ source: Configuration.Key, credentialsDirectory: String? = nil) -> String {
        let error = #expect(throws: Failure.self) { try load(source, credentialsDirectory: credentialsDirectory) }
        return error?.description ?? ""
    }

    /// A program that prints something.
    func command(_ script: String, timeout: Int = 10, mode: mode_t = 0o700) throws -> Configuration.Key {
        let path = "\(temporary.path)/command"
        try temporary.write("command", Array("#!/bin/sh\n\(script)\n".utf8))
        chmod(path, mode)
        return .command([path, "--argument"], timeout: timeout)
    }

    var hexadecimal: String { Hexadecimal.encode(key) }

    // MARK: - credential

    @Test func aCredentialIsTaken() throws {
        try temporary.write("credentials/k", key)
        let directory = "\(temporary.path)/credentials"
        #expect(try load(.credential(name: "k", directory: directory)) == key)
        #expect(try load(.credential(name: "k", directory: nil), credentialsDirectory: directory) == key)
        // What the configuration says counts.
        let both: Configuration.Key = .credential(name: "k", directory: directory)
        #expect(try load(both, credentialsDirectory: "/nowhere") == key)
    }

    @Test func itsFormsAreTheDocumentedOnes() throws {
        let directory = "\(temporary.path)/credentials"
        let source: Configuration.Key = .credential(name: "k", directory: directory)
        let encoded = try KeyMaterial.encode(MasterKey(secretCopy(of: key))).withBytes { Array($0) }
        let forms = [encoded, Array(hexadecimal.utf8), Array("\(hexadecimal.uppercased())\n".utf8)]
        for form in forms {
            try temporary.write("credentials/k", form)
            #expect(try load(source) == key)
        }
        var foreign = [
            [], key + [0], Array(key.dropLast()), Array("\(hexadecimal) ".utf8),
            Array("g\(hexadecimal.dropFirst())".utf8),
            Array(encoded.dropLast()), encoded + [0],
        ]
        var newer = encoded
        newer[9] = 2
        foreign.append(newer)
        for form in foreign {
            try temporary.write("credentials/k", form)
            #expect(refusal(source).contains("cannot load the master key"), "\(form)")
        }
    }

    /// A passphrase can have 32 bytes too, and is as easily found as it is typed.
    @Test(arguments: [
        "correct horse battery staple ok\n", "0123456789abcdef0123456789abcdef", "Grüße aus Köln, und noch mehr",
    ])
    func textIsNoKey(text: String) throws {
        try #require(text.utf8.count == 32)
        let words = "its 32 bytes are text, as a passphrase is (take a random key of 64 hexadecimal digits"
        try temporary.write("credentials/k", Array(text.utf8))
        #expect(refusal(.credential(name: "k", directory: "\(temporary.path)/credentials")).contains(words))
        #expect(refusal(try command("cat \(temporary.path)/credentials/k")).contains(words))
        // The hint keeps a key that states may need already.
        let digits = "od -An -v -tx1 <\(temporary.path)/credentials/k | tr -d ' \\n'"
        #expect(try load(command(digits)) == Array(text.utf8))
    }

    @Test func theByteThatIsTooMuchIsNamed() throws {
        let secret = "\(hexadecimal.dropLast(3))"
        let cases: [(text: [UInt8], words: String)] = [
            (Array("\(hexadecimal)\r\n".utf8), "after its 64 digits comes a carriage return"),
            (Array("\(hexadecimal)\n\n".utf8), "after its 64 digits comes more than a line feed"),
            (Array("\(hexadecimal)\nwarning".utf8), "after its 64 digits comes more than a line feed"),
            (Array("\(hexadecimal) ".utf8), "after its 64 digits comes a blank"),
            (Array("\(hexadecimal)\0".utf8), "after its 64 digits comes a zero byte"),
            (Array("\(secret)\n".utf8), "it has 62 bytes, and after 61 hexadecimal digits comes a line feed"),
            (Array("\(secret)-42".utf8), "after 61 hexadecimal digits comes something else"),
            (Array(hexadecimal.utf8.dropLast()), "it has 63 hexadecimal digits, not 64"),
            ([0xef, 0xbb, 0xbf] + Array(hexadecimal.utf8), "a byte order mark of UTF-8"),
            ([0xff, 0xfe] + hexadecimal.utf8.flatMap { [$0, 0] }, "a byte order mark of UTF-16"),
            ([], "it is empty"),
            (Array("CVTPMEX\n and so on".utf8), "it is an export of a key or of a state (vtpmctl key import)"),
            (Array("CVTPMSK\n and so on".utf8), "sealed to a TPM (key.source = \"host-tpm\")"),
        ]
        for (text, words) in cases {
            try temporary.write("credentials/k", text)
            let said = refusal(.credential(name: "k", directory: "\(temporary.path)/credentials"))
            #expect(said.contains("it is no master key: "))
            #expect(said.contains(words))
            #expect(!said.contains(secret.prefix(8)))
        }
    }

    @Test func aMissingCredentialIsSaidAndNothingIsMade() throws {
        #expect(refusal(.credential(name: "k", directory: nil)).contains("$CREDENTIALS_DIRECTORY is not set"))
        let directory = "\(temporary.path)/credentials"
        #expect(refusal(.credential(name: "k", directory: directory)).contains("there is no such credential"))
        #expect(try entries(of: temporary.directory("credentials"), "") == [])
    }

    @Test func othersMustNotReadACredential() throws {
        try temporary.write("credentials/k", key)
        chmod("\(temporary.path)/credentials/k", 0o644)
        let source: Configuration.Key = .credential(name: "k", directory: "\(temporary.path)/credentials")
        #expect(refusal(source).contains("others may read or change it"))
    }

    // MARK: - command

    @Test func aCommandsOutputIsTaken() throws {
        #expect(try load(command("echo \(hexadecimal)")) == key)
        #expect(try load(command("test \"$*\" = --argument && echo \(hexadecimal)")) == key)
    }

    @Test func aCommandGetsNothingOfOurs() throws {
        let clean =
            "test \"$(env | grep -v -e ^PWD= -e ^_= -e ^PATH= -e ^LC_ALL= -e ^SHLVL=)\" = ''"
        // 10 and 11 are the shell's own: its script, and its output while it lists.
        let list = "ls /proc/$$/fd >\"$0.list\""
        let closed = "\(list) && test \"$(grep -v -E '^([0-2]|1[01])$' \"$0.list\")\" = ''"
        #expect(try load(command("\(clean) && \(closed) && test -z \"$(cat)\" && echo \(hexadecimal)")) == key)
    }

    @Test func aCommandThatFailsIsSaidWithoutWhatItPrints() throws {
        let text = refusal(try command("echo \(hexadecimal); echo \(hexadecimal) >&2; exit 3"))
        #expect(text.contains("it ended with exit code 3"))
        #expect(!text.contains(hexadecimal))
        #expect(refusal(try command("echo nonsense")).contains("it is no master key"))
        #expect(refusal(try command("head -c 5000 /dev/zero")).contains("more than 4096 bytes"))
        #expect(refusal(.command(["/nowhere/at/all"], timeout: 1)).contains("No such file"))
    }

    /// What an operator tries by hand has to fail in the same way.
    @Test func aCommandThatFailsTellsHowToSeeIt() throws {
        let text = refusal(try command("test -n \"$HOME\" || exit 2"))
        #expect(
            text.contains("it ended with exit code 2 (run it as it is run here, without HOME and the like: env -i ")
        )
        let shown = String(text[(text.lastIndex(of: "(") ?? text.startIndex)...].dropLast())
        let byHand = shown.split(separator: ": ", maxSplits: 1).last.map {
            String($0).replacing(" ...", with: " --argument")
        }
        let launch = ProgramLaunch(
            "/bin/sh",
            ["sh", "-c", try #require(byHand)],
            environment: ["HOME=/root", "PATH=/usr/bin:/bin"]
        )
        #expect(try launch.start().wait() == .exited(2))
    }

    @Test func aChildThatKeepsTheOutputOpenIsNamed() throws {
        let script = "echo \(hexadecimal); sleep 600 & echo $! >\"$0.child\""
        let text = refusal(try command(script, timeout: 1))
        #expect(text.contains("it has ended, but a process that it started keeps its standard output open"))
        #expect(!text.contains(hexadecimal))
        let child = pid_t(String(decoding: try temporary.read("command.child"), as: UTF8.self).filter(\.isNumber))
        kill(try #require(child), SIGKILL)
        #expect(try load(command("echo \(hexadecimal); sleep 600 >/dev/null & echo $! >\"$0.child\"")) == key)
        let other = pid_t(String(decoding: try temporary.read("command.child"), as: UTF8.self).filter(\.isNumber))
        kill(try #require(other), SIGKILL)
    }

    @Test func aCommandThatDoesNotEndIsEnded() throws {
        let before = try processes(named: "command")
        #expect(refusal(try command("exec sleep 600", timeout: 1)).contains("it did not end within 1 s"))
        #expect(refusal(try command("exec >&-; exec sleep 600", timeout: 1)).contains("it did not end within 1 s"))
        #expect(try processes(named: "command") == before)
    }

    @Test func aCommandThatOthersCouldChangeIsRefused() throws {
        let text = refusal(try command("echo \(hexadecimal)", mode: 0o722))
        #expect(text.contains("another user could change the program: the mode of \(temporary.path)/command is 0722"))
    }

    /// Who may write to a directory on the way puts another program there.
    @Test func aCommandThatOthersCouldExchangeIsRefused() throws {
        let path = temporary.path
        _ = try temporary.directory("a/b")
        try temporary.write("a/b/command", Array("#!/bin/sh\necho \(hexadecimal)\n".utf8))
        chmod("\(path)/a/b/command", 0o700)
        let source: Configuration.Key = .command(["\(path)/a/b/command"], timeout: 10)
        #expect(try load(source) == key)
        chmod("\(path)/a", 0o777)
        #expect(refusal(source).contains("another user could change the program: the mode of \(path)/a is 0777"))
        // As in /tmp: what is there is safe.
        chmod("\(path)/a", 0o1777)
        #expect(try load(source) == key)
        try #require(chown("\(path)/a", 1000, 0) == 0)
        #expect(refusal(source).contains("\(path)/a belongs to user 1000 (chown root: \(path)/a)"))
        // A link's way counts as well: the one that leads to it, and the one that it leads to.
        _ = try temporary.directory("links")
        try #require(symlink("../a/b", "\(path)/links/b") == 0)
        let linked: Configuration.Key = .command(["\(path)/links/b/command"], timeout: 10)
        #expect(refusal(linked).contains("\(path)/links/../a belongs to user 1000"))
        try #require(chown("\(path)/a", 0, 0) == 0)
        chmod("\(path)/a", 0o755)
        #expect(try load(linked) == key)
        try #require(lchown("\(path)/links/b", 1000, 0) == 0)
        #expect(refusal(linked).contains("\(path)/links/b belongs to user 1000"))
        try #require(symlink("loop", "\(path)/links/loop") == 0)
        #expect(refusal(.command(["\(path)/links/loop"], timeout: 1)).contains("Too many levels of symbolic links"))
        #expect(refusal(.command(["\(path)/a/b"], timeout: 1)).contains("is a directory"))
    }

    private func processes(named name: String) throws -> Int {
        let proc = try Descriptor.open("/proc", .directory)
        return try entries(of: proc, "/proc").filter { pid in
            guard let file = try? Descriptor.open("/proc/\(pid)/cmdline", .read),
                let line = try? file.readAll(limit: 65536, "")
            else { return false }
            return String(decoding: line, as: UTF8.self).contains("\(temporary.path)/\(name)")
        }.count
    }
}
