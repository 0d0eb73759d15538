import Configuration
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
        return try Keychain(
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

    var hexadecimal: String { StateName.hexadecimal(key) }

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
            "test \"$(env | grep -v -e ^PWD= -e ^_= -e ^PATH= -e ^LC_ALL= -e ^SWIFT_BACKTRACE= -e ^SHLVL=)\" = ''"
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

    @Test func aCommandThatDoesNotEndIsEnded() throws {
        let before = try processes(named: "command")
        #expect(refusal(try command("exec sleep 600", timeout: 1)).contains("it did not end within 1 s"))
        #expect(refusal(try command("exec >&-; exec sleep 600", timeout: 1)).contains("it did not end within 1 s"))
        #expect(try processes(named: "command") == before)
    }

    @Test func aCommandThatOthersCouldChangeIsRefused() throws {
        #expect(refusal(try command("echo \(hexadecimal)", mode: 0o722)).contains("another user could change"))
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
