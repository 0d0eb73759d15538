import Crypto
import Platform
import RuntimeFormat
import TestSupport

@testable import RuntimeState

/// Ways to make another file of one.
enum Corruption: CaseIterable {
    case flippedBits, truncated, extended, inserted, removed, zeroed, swapped, repeated, rubbish, foreign, spliced
    /// A header that was changed, with the check that anybody can compute for it.
    case forgedHeader

    /// Another file than `original`; `others` are whole files that might be put in its place.
    static func any(
        of original: [UInt8],
        others: [[UInt8]],
        _ generator: inout SeededGenerator
    ) throws(Failure) -> (kind: Corruption, bytes: [UInt8]) {
        while true {
            guard let kind = allCases.randomElement(using: &generator) else { continue }
            let bytes = try kind.apply(to: original, others, &generator)
            if bytes != original { return (kind, bytes) }
        }
    }

    private func apply(
        to original: [UInt8],
        _ others: [[UInt8]],
        _ generator: inout SeededGenerator
    ) throws(Failure) -> [UInt8] {
        var bytes = original
        // Where something begins: the header is small, and hit as often as all the rest.
        let isAtStart = Bool.random(using: &generator)
        let place = Int.random(in: 0..<(isAtStart ? min(128, bytes.count) : bytes.count), using: &generator)
        let length = [1, 2, 4, 16, 64, 512].randomElement(using: &generator) ?? 1
        let block = place..<min(place + length, bytes.count)
        switch self {
        case .flippedBits:
            for _ in 0..<Int.random(in: 1...16, using: &generator) {
                bytes[Int.random(in: block, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            }
        case .truncated:
            bytes.removeLast(bytes.count - place)
        case .extended:
            bytes += Self.noise(length, &generator)
        case .inserted:
            bytes.insert(contentsOf: Self.noise(length, &generator), at: place)
        case .removed:
            bytes.removeSubrange(block)
        case .zeroed:
            for index in block { bytes[index] = 0 }
        case .swapped:
            let other = Int.random(in: 0...(bytes.count - block.count), using: &generator)
            for offset in 0..<block.count { bytes.swapAt(block.lowerBound + offset, other + offset) }
        case .repeated:
            bytes.insert(contentsOf: bytes[block], at: block.upperBound)
        case .rubbish:
            bytes = Self.noise(Int.random(in: 0...4096, using: &generator), &generator)
        case .foreign:
            bytes = others.randomElement(using: &generator) ?? []
        case .spliced:
            let other = others.randomElement(using: &generator) ?? []
            bytes = Array(bytes[..<place]) + other.dropFirst(place)
        case .forgedHeader:
            let checkEnd = Int(bytes[10..<14].reduce(0) { $0 << 8 | UInt32($1) })
            guard bytes.starts(with: FileFormat.state.magic), checkEnd <= bytes.count else { return bytes }
            // Behind the sizes, which would only make it truncated.
            let fields = 14..<checkEnd - FileFormat.state.checkSize
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                bytes[Int.random(in: fields, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            }
            let check = try SHA256.digest(Array(bytes[..<fields.upperBound])).prefix(FileFormat.state.checkSize)
            bytes.replaceSubrange(fields.upperBound..<checkEnd, with: check)
        }
        return bytes
    }

    private static func noise(_ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }
}
