import Configuration
import Foundation
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeHostTPM
import RuntimeKeys
import RuntimeTransfer
import Testing

@testable import RuntimeState

/// What a version of this program has left on a host's disk, with one real TPM in it, made once and committed.
///
/// `Tests/RuntimeTests/Fixtures/format/README.md` tells what is in it.
struct FormatFixture {
    let temporary: TemporaryDirectory
    let expected: Expected

    /// What has to come out.
    struct Expected: Codable {
        var keyID: String
        var generation: UInt64
        var endorsementKey: String
        var nvContent: String
    }

    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../Fixtures/format").standardizedFileURL.path

    /// A copy of the fixture of one version, as root's own files.
    init(version: Int) throws {
        temporary = try TemporaryDirectory()
        let copy = try ProgramLaunch(
            "/bin/sh",
            ["sh", "-c", "cp -r '\(Self.folder)/\(version)/.' '\(temporary.path)' && chmod -R go= '\(temporary.path)'"]
        ).start().wait()
        try #require(copy == .exited(0))
        expected = try JSONDecoder().decode(Expected.self, from: Data(temporary.read("expected.json")))
    }

    var path: String { temporary.path }

    func keychain(_ source: Configuration.Key) -> MasterKeyProvider {
        var configuration = Configuration()
        configuration.key = source
        return MasterKeyProvider(configuration, keysPath: "\(path)/keys", credentialsDirectory: nil)
    }

    func repository(
        _ keys: KeyRing,
        index name: String = "index",
        counter: (any MonotonicCounter)? = nil
    )
        throws(Failure) -> StateRepository
    {
        let directory = "\(path)/\(name)"
        let index = try HostIndex(in: openOwnDirectory(directory), path: directory, keys: keys, counter: counter)
        let states = try openOwnDirectory("\(path)/states")
        return StateRepository(in: states, path: "\(path)/states", keys: keys, index: index)
    }

    /// The state of the one TPM, as a start of its container loads it.
    func load(_ stateID: String, _ keys: KeyRing) throws -> (generation: UInt64, permanent: SecretBytes) {
        let (store, payload) = try StateStore.open(
            stateID,
            in: repository(keys),
            for: StateUser(
                containerID: "",
                initProcess: ProcessID(process: pid_t.max, startTime: 0),
                supervisor: getpid()
            ),
            until: Deadline(milliseconds: 30_000)
        )
        try #require(payload.isComplete)
        return (store.generation, payload.permanent)
    }
}
