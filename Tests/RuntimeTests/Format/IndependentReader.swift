import Crypto
import Foundation
import Platform
import Testing

@testable import RuntimeHostTPM
@testable import RuntimeState

/// Test fixture: runs `Fixtures/read-format`, which was written from docs/state-format.md and from nothing of ours.
struct IndependentReader {
    /// What it says about a state.
    struct State: Decodable {
        var stateID: String
        var directory: String
        var keyID: String
        var uuid: String
        var generation: UInt64
        var complete: Bool
        var permall: String
    }

    /// What it says about an index.
    struct Index: Decodable {
        struct Entry: Decodable, Equatable {
            var stateID: String
            var uuid: String
            var generation: UInt64
            var lastUse: UInt64
            var bundle: String
            var newStateID: String
        }

        struct Identity: Decodable {
            var index: UInt32
            var indexName: String
            var key: UInt32
            var keyName: String
        }

        var keyID: String
        var sequence: UInt64
        var counter: UInt64
        var identity: Identity?
        var entries: [Entry]
    }

    /// What it says about an export; one of a master key has no `permall`.
    struct Export: Decodable {
        var stateID: String
        var protection: UInt16
        var permall: String?
        var keyID: String?
    }

    /// What it says about a sealed master key.
    struct Sealed: Decodable {
        var key: UInt32
        var keyName: String
        var pcrs: String
        var policy: String
        var `public`: String
    }

    /// What it says about a master key.
    struct Key: Decodable {
        var keyID: String
    }

    private static let program = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../Fixtures/read-format").standardizedFileURL.path

    /// Where the files are, and where its output goes.
    let temporary: TemporaryDirectory

    /// Lets it read a file of the directory.
    ///
    /// The options are `--key`, `--passphrase`, `--identity`, each with the name of a file of the directory.
    func run(_ name: String, _ options: [String]) throws -> (status: WaitStatus, output: [UInt8]) {
        let script = "cd '\(temporary.path)' && exec \"$0\" \"$@\" >output 2>&1"
        let arguments = ["sh", "-c", script, Self.program] + options + [name]
        let status = try ProgramLaunch("/bin/sh", arguments).start().wait()
        return (status, try temporary.read("output"))
    }

    /// What it says about a file that it must accept.
    func read<Contents: Decodable>(_ name: String, _ options: String...) throws -> Contents {
        let (status, output) = try run(name, options)
        try #require(status == .exited(0), "\(name): \(String(decoding: output, as: UTF8.self))")
        return try JSONDecoder().decode(Contents.self, from: Data(output))
    }

    /// Why it does not read a file that it must refuse.
    func refusal(_ name: String, _ options: [String]) throws -> String {
        let (status, output) = try run(name, options)
        let text = String(decoding: output, as: UTF8.self)
        // An error of its own is no refusal: it would be a traceback.
        let isRefusal =
            status == .exited(1) && text.hasPrefix("cannot read \(name): ") && text.count { $0 == "\n" } == 1
        #expect(isRefusal, "\(status): \(text)")
        return text
    }
}

/// The SHA-256 of some bytes, as the reader prints it.
func digest(_ bytes: some Collection<UInt8>) throws -> String {
    Hexadecimal.encode(try SHA256.digest(Array(bytes)))
}
