import Glibc
import Platform
import Testing

/// What `make fuzz` looks for at length, with the inputs that are known: no program may die of any.
///
/// Each target runs in a process of its own, since an input that is not borne ends it; which one it was is the last line
/// that it wrote. A process has one TPM, too.
@Suite struct ReplayTests {
    /// How many changed inputs each target gets; a TPM takes longer than a parser.
    private static func changes(of target: FuzzTarget) -> Int { target == .worker ? 300 : 2000 }

    @Test(arguments: FuzzTarget.allCases)
    func `no input ends the process`(target: FuzzTarget) async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) { [target] in
            let corpus = try Corpus(of: target)
            // On the main thread, as libtpms wants it.
            await MainActor.run {
                for (name, bytes) in corpus.inputs { replay(target, bytes, name) }
                var mutator = Mutator(seed: 1, corpus)
                for number in 0..<Self.changes(of: target) { replay(target, mutator.next(), "change \(number)") }
                say("done\n")
            }
        }
        let lines = result.map { String(decoding: $0.standardErrorContent, as: UTF8.self) } ?? ""
        let last = lines.split(separator: "\n").last { $0.hasPrefix("input ") } ?? ""
        #expect(lines.hasSuffix("done\n"), "\(last)")
    }

    /// An empty corpus would pass for one that is borne.
    @Test(arguments: FuzzTarget.allCases)
    func `every target has inputs`(target: FuzzTarget) throws {
        #expect(try Corpus(of: target).inputs.count >= 10)
    }
}

private func replay(_ target: FuzzTarget, _ bytes: [UInt8], _ name: String) {
    say("input \(name): \(bytes.prefix(4096).map { String($0, radix: 16) }.joined(separator: " "))\n")
    bytes.withUnsafeBytes { target.run($0) }
}

private func say(_ line: String) {
    let bytes = Array(line.utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}
