import Platform

/// The lines in which two texts differ.
enum LineDifference {
    /// Returns the lines that are removed and added, with the file's name before them.
    static func lines(_ path: String, from before: [UInt8]?, to after: [UInt8]?) -> [String] {
        var old = split(before ?? [])
        let new = split(after ?? [])
        let difference = new.difference(from: old)
        var removed: Set<Int> = []
        var inserted: [Int: String] = [:]
        for change in difference {
            switch change {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, let line, _): inserted[offset] = line
            }
        }
        if removed.count == 1, inserted.count == 1, let left = removed.first, let right = inserted.keys.first {
            // A file on one line may hold credentials: only what is different in it is shown.
            (old[left], inserted[right]) = shortened(old[left], new[right])
        }
        var lines = ["--- \(before == nil ? "/dev/null" : path)", "+++ \(after == nil ? "/dev/null" : path)"]
        var (left, right) = (0, 0)
        while left < old.count || right < new.count {
            if left < old.count, removed.contains(left) {
                lines.append("-" + old[left].onOneLine)
                left += 1
            } else if let line = inserted[right] {
                lines.append("+" + line.onOneLine)
                right += 1
            } else {
                (left, right) = (left + 1, right + 1)
            }
        }
        return lines
    }

    /// The longest line that is shown whole, in characters.
    private static let lineLimit = 120

    /// Returns two lines without what they begin and end with in common, if either is long.
    private static func shortened(_ one: String, _ other: String) -> (String, String) {
        guard max(one.unicodeScalars.count, other.unicodeScalars.count) > lineLimit else { return (one, other) }
        let (left, right) = (Array(one.unicodeScalars), Array(other.unicodeScalars))
        let most = min(left.count, right.count)
        let start = (0..<most).first { left[$0] != right[$0] } ?? most
        let end = (0..<most - start).first { left[left.count - 1 - $0] != right[right.count - 1 - $0] } ?? most - start
        func middle(_ scalars: [Unicode.Scalar]) -> String {
            "…\(String(String.UnicodeScalarView(scalars[start..<scalars.count - end])))…"
        }
        return (middle(left), middle(right))
    }

    private static func split(_ bytes: [UInt8]) -> [String] {
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        if lines.last?.isEmpty ?? false { lines.removeLast() }
        return lines.map { String(decoding: $0, as: UTF8.self) }
    }
}
