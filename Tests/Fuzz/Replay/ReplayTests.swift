import Glibc
import Platform
import RuntimeControl
import Testing

/// What `make fuzz` looks for at length, with the inputs that are known: no program may die of any.
///
/// Each target runs in a process of its own, since an input that is not borne ends it; a process has one TPM, too. The
/// input that is under way is in a file, which stays behind where it was the last.
@Suite struct ReplayTests {
    /// How many changed inputs each target gets; a TPM takes longer than a parser.
    private static func changes(of target: FuzzTarget) -> Int { target == .worker ? 100 : 1000 }

    @Test(arguments: FuzzTarget.allCases)
    func `no input ends the process`(target: FuzzTarget) async throws {
        var template = Array("/tmp/container-vtpm-replay-XXXXXX".utf8CString)
        close(mkstemp(&template))
        let path = String(decoding: template.dropLast().map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
        let result = await #expect(processExitsWith: .success) { [target, path = path as String] in
            let corpus = try Corpus(of: target)
            // On the main thread, as libtpms wants it.
            try await MainActor.run {
                let note = try Descriptor.open(path, OpenOptions(O_WRONLY))
                for (_, bytes) in corpus.inputs { replay(bytes, target, note) }
                var mutator = Mutator(seed: 1, corpus)
                for _ in 0..<Self.changes(of: target) { replay(mutator.next(), target, note) }
            }
        }
        if result == nil {
            Issue.record("again: Tests/Fuzz/run --replay \(target.rawValue) \(path)")
        } else {
            unlink(path)
        }
    }

    /// An empty corpus would pass for one that is borne.
    @Test(arguments: FuzzTarget.allCases)
    func `every target has inputs`(target: FuzzTarget) throws {
        #expect(try Corpus(of: target).inputs.count >= 10)
    }

    /// Orders that are refused at once would lead no fuzzer to what lies behind them.
    @Test(arguments: [
        "orders-persistent", "orders-ephemeral", "orders-in-a-rotation", "orders-with-a-counter", "orders-with-a-tpm",
    ])
    func `an order among the inputs is one`(name: String) throws {
        let input = try #require(try Corpus(of: .control).inputs.first { $0.name == name })
        let message = try #require(Records(input.bytes.dropFirst()).first { _ in true })
        var reader = ByteReader(Array(message.bytes.dropFirst()))
        #expect(StartRequest(&reader) != nil && reader.remaining == 0)
    }
}

private func replay(_ bytes: [UInt8], _ target: FuzzTarget, _ note: borrowing Descriptor) {
    _ = ftruncate(note.number, 0)
    _ = pwrite(note.number, bytes, bytes.count, 0)
    bytes.withUnsafeBytes { target.run($0) }
}
