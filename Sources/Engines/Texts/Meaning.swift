import Platform
import TOMLText

/// The comparison of what two TOML documents mean.
enum Meaning {
    /// Throws unless the second document has all of the first, and beyond that only these entries.
    ///
    /// At the keys of an entry, at all below and at the tables above it, the second may have what the first has not.
    static func require(
        _ before: Document,
        _ after: Document,
        differingAt entries: [[String]],
        _ path: String
    ) throws(Failure) {
        guard isSame(before.root, after.root, [], entries) else {
            throw Failure("cannot change \(path)", because: "it would mean something else besides our entries")
        }
    }

    private static func isSame(
        _ before: [String: Document.Entry],
        _ after: [String: Document.Entry],
        _ place: [String],
        _ entries: [[String]]
    ) -> Bool {
        for key in Set(before.keys).union(after.keys) {
            let place = place + [key]
            if entries.contains(place) { continue }
            switch (before[key]?.value, after[key]?.value) {
            case (.table(let one)?, .table(let other)?):
                guard isSame(one, other, place, entries) else { return false }
            case (nil, .table(let other)?):
                // A table that is only there for an entry below it.
                guard entries.contains(where: { $0.starts(with: place) }), isSame([:], other, place, entries) else {
                    return false
                }
            case (let one?, let other?): guard isSame(one, other) else { return false }
            default: return false
            }
        }
        return true
    }

    /// Whether two values are the same, wherever they stand.
    private static func isSame(_ one: Document.Value, _ other: Document.Value) -> Bool {
        switch (one, other) {
        case (.array(let one), .array(let other)):
            one.count == other.count && zip(one, other).allSatisfy { isSame($0, $1) }
        case (.table(let one), .table(let other)): isSame(one, other, [], [])
        default: one == other
        }
    }
}
