import Glibc
import Platform
import TestSupport

/// The committed inputs of a target, in the order of their names.
struct Corpus {
    let inputs: [(name: String, bytes: [UInt8])]

    init(of target: FuzzTarget) throws(Failure) {
        let path = "\(fuzzFolder)/Corpus/\(target.rawValue)"
        let directory = try Descriptor.open(path, .directory)
        var inputs: [(name: String, bytes: [UInt8])] = []
        for name in try entries(of: directory, path).sorted() {
            let file = try Descriptor.open(name, .read, at: directory.number)
            inputs.append((name, try file.readAll(limit: 1 << 20, name)))
        }
        self.inputs = inputs
    }
}

/// Changes inputs as libFuzzer does, though without looking where that leads.
struct Mutator {
    private var random: SeededGenerator
    private let corpus: [[UInt8]]

    init(seed: UInt64, _ corpus: Corpus) {
        random = SeededGenerator(seed: seed)
        self.corpus = corpus.inputs.map(\.bytes)
    }

    /// One of the inputs, with one to four changes.
    mutating func next() -> [UInt8] {
        var bytes = corpus.randomElement(using: &random) ?? []
        for _ in 0..<Int.random(in: 1...4, using: &random) { change(&bytes) }
        return bytes
    }

    private mutating func change(_ bytes: inout [UInt8]) {
        let place = Int.random(in: 0...bytes.count, using: &random)
        let length = min(Int.random(in: 1...16, using: &random), bytes.count - place)
        switch Int.random(in: 0..<7, using: &random) {
        case 0 where place < bytes.count: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1 where place < bytes.count: bytes[place] = [0, 1, 0x7f, 0x80, 0xff].randomElement(using: &random) ?? 0
        case 2: bytes.removeSubrange(place..<place + length)
        case 3: bytes.insert(contentsOf: bytes[place..<place + length], at: place)
        case 4: bytes.insert(.random(in: 0...255, using: &random), at: place)
        case 5 where bytes.count - place >= 4:
            let value: [UInt8] =
                [[0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0xff, 0xff]]
                .randomElement(using: &random) ?? []
            bytes.replaceSubrange(place..<place + 4, with: value)
        case 6:
            let other = corpus.randomElement(using: &random) ?? []
            bytes.replaceSubrange(place..., with: other.dropFirst(Int.random(in: 0...other.count, using: &random)))
        default: bytes.removeLast(bytes.count - place)
        }
    }
}
