import Platform
import TestSupport
import Testing

/// Random and mutated TPM commands, the same for the same seed and the same TPM.
///
/// Every frame has the form that the kernel lets through from `/dev/tpmN`: 1 to 4096 bytes, and a size field, where there
/// is room for one, that tells how many (tpm_common_write, tpm_try_transmit). One in 64 has another size field, which no
/// kernel passes on.
struct FuzzedCommands {
    private var generator: SeededGenerator
    private let corpus: [CommandCorpus.Seed]

    init(seed: UInt64, corpus: CommandCorpus) {
        generator = SeededGenerator(seed: seed)
        self.corpus = corpus.seeds
    }

    /// The next one, and the name of the valid command that it is, where it was not changed.
    ///
    /// Of the changed ones that may cost the tenant its right to clear the TPM one in 1,000 is sent: after it everything
    /// may be refused, and nothing is tried any more.
    mutating func next() -> (bytes: [UInt8], valid: String?) {
        while true {
            let command = make()
            if command.valid != nil || !Self.mayPreventClear(command.bytes) || below(1000) == 0 { return command }
        }
    }

    /// Whether it is TPM2_ClearControl, or authorized by the lockout authorization, which a wrong password locks.
    private static func mayPreventClear(_ bytes: [UInt8]) -> Bool {
        bytes.dropFirst(6).starts(with: [0, 0, 1, 0x27]) || bytes.dropFirst(10).starts(with: [0x40, 0, 0, 0x0a])
    }

    private mutating func make() -> (bytes: [UInt8], valid: String?) {
        let kind = below(64)
        if kind < 20 {
            let seed = corpus[below(corpus.count)]
            if !seed.isTemplateOnly { return (seed.bytes, seed.name) }
        }
        var bytes: [UInt8]
        switch kind {
        case ..<54:
            bytes = corpus[below(corpus.count)].bytes
            for _ in 0...below(4) { mutate(&bytes) }
        case ..<59:
            bytes = randomParameters()
        default:
            bytes = random(count: 1 + below(below(4) == 0 ? 4096 : 64))
        }
        if bytes.isEmpty { bytes = [0x80] }
        bytes = Array(bytes.prefix(4096))
        write(UInt32(kind == 63 ? below(8192) : bytes.count), at: 2, in: &bytes)
        return (bytes, nil)
    }

    /// A good header and a good code, with anything behind them.
    private mutating func randomParameters() -> [UInt8] {
        var body = ByteWriter()
        body.write(UInt16(0x8001 + below(2)))
        body.write(UInt32(0))
        body.write(UInt32(0x11f + below(0x7b)))
        for _ in 0..<below(4) { body.write(CommandCorpus.handles[below(CommandCorpus.handles.count)]) }
        return body.bytes + random(count: below(128))
    }

    // MARK: - Changes

    private mutating func mutate(_ bytes: inout [UInt8]) {
        guard bytes.count > 1 else { return bytes.append(contentsOf: random(count: 8)) }
        // What follows the header is what differs from command to command.
        let place = below(8) == 0 ? below(bytes.count) : min(10 + below(max(bytes.count - 10, 1)), bytes.count - 1)
        switch below(12) {
        case 0: bytes[place] ^= 1 << UInt8(below(8))
        case 1: bytes[place] = UInt8(below(256))
        case 2: bytes[place] = [0, 1, 0x7f, 0x80, 0xff][below(5)]
        case 3:
            let value = [0, 1, 2, 0x40, 0x41, 0x7fff, 0x8000, 0xfffe, 0xffff, bytes.count][below(10)]
            write(UInt16(truncatingIfNeeded: value), at: place, in: &bytes)
        case 4: write(UInt32([0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff][below(5)]), at: place, in: &bytes)
        case 5: write(CommandCorpus.handles[below(CommandCorpus.handles.count)], at: 10 + 4 * below(3), in: &bytes)
        case 6: bytes.removeSubrange(place..<min(place + 1 + below(16), bytes.count))
        case 7: bytes.insert(contentsOf: random(count: 1 + below(16)), at: place)
        case 8: bytes.insert(contentsOf: bytes[place..<min(place + 1 + below(300), bytes.count)], at: place)
        case 9: bytes.removeLast(below(bytes.count))
        case 10: bytes = Array(bytes[..<place]) + corpus[below(corpus.count)].bytes.dropFirst(place)
        default:
            write(UInt32(0x11f + below(0x7b)), at: 6, in: &bytes)
            if below(4) == 0 { write(UInt16(0x8000 + below(3)), at: 0, in: &bytes) }
        }
    }

    private mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &generator) }

    private mutating func random(count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let word = generator.next()
            withUnsafeBytes(of: word) { bytes.append(contentsOf: $0) }
        }
        return Array(bytes.prefix(count))
    }

    private func write(_ value: some FixedWidthInteger, at offset: Int, in bytes: inout [UInt8]) {
        var writer = ByteWriter()
        writer.write(value)
        for (index, byte) in writer.bytes.enumerated() where offset + index < bytes.count {
            bytes[offset + index] = byte
        }
    }
}
