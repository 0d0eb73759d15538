import CLinux
import Glibc
import Platform
import Testing

/// The few words by which errors are counted.
@Suite struct FailureKindTests {
    @Test(arguments: [
        (Failure("cannot load the master key /k", because: "it is missing"), FailureKind.key),
        (Failure("cannot unseal the secret with the host's TPM", because: "its PCRs have changed"), .hostTPM),
        (Failure("cannot use the state \"web\"", because: "container \"db\" uses it"), .state),
        (Failure("cannot obey the annotation org.container-vtpm.state", because: "no"), .container),
        (Failure("cannot open /dev/vtpmx", call: "open", code: ENOENT), .device),
        (Failure("cannot connect to systemd", call: "connect", code: EACCES), .systemd),
        (Failure("cannot keep the vTPM", because: "its worker ended with signal 9"), .process),
        (Failure("cannot write /var/lib/x", call: "write", code: ENOSPC), .disk),
        (Failure("cannot polish the door", because: "it has none"), .other),
    ]) func `an error has a kind`(_ failure: Failure, _ kind: FailureKind) {
        #expect(failure.kind == kind)
        // A hook tells the errors of its supervisor as their text alone.
        #expect(Failure(relayed: failure.description.utf8).kind == kind)
    }

    /// What a container, an image or an annotation is called is not where the words are looked for.
    @Test func `a name decides nothing`() {
        let failure = Failure("cannot read config.json", because: "cannot load the master key: \(ENOSPC)")
        #expect(failure.kind == .other)
    }

    @Test func `a word of another version is another kind`() {
        #expect(FailureKind(word: "gremlins") == .other && FailureKind(word: nil) == .other)
        for kind in FailureKind.allCases { #expect(FailureKind(word: kind.rawValue) == kind) }
    }

    /// The words are those of our sources: whoever changes an error there finds it here.
    @Test func `each beginning is that of an error in the sources`() throws {
        let sources = #filePath.split(separator: "/").dropLast(4).reduce("") { "\($0)/\($1)" } + "/Sources"
        let found = try Self.texts(below: sources)
        for (text, _) in FailureKind.beginnings where text != "cannot open /dev/vtpmx" {
            // FailureKind.swift has it once itself.
            #expect(found.count { $0.contains("\"\(text)") } > 1, "\(text)")
        }
        for kind in FailureKind.allCases where ![.disk, .other].contains(kind) {
            #expect(FailureKind.beginnings.contains { $0.kind == kind }, "\(kind)")
        }
    }

    private static func texts(below folder: String) throws -> [String] {
        let directory = try Descriptor.open(folder, .directory)
        var texts: [String] = []
        for name in try entries(of: directory, folder) {
            let path = "\(folder)/\(name)"
            if path.hasSuffix(".swift") {
                texts.append(
                    String(decoding: try Descriptor.open(path, .read).readAll(limit: 1 << 20, path), as: UTF8.self)
                )
            } else if try Descriptor.open(path, .read).status(path).st_mode & S_IFMT == S_IFDIR {
                texts += try Self.texts(below: path)
            }
        }
        return texts
    }
}
