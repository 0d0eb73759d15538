import Platform

/// The lines in which two texts differ.
enum LineDifference {
    /// Returns the lines that are removed and added, with the file's name before them.
    static func lines(_ path: String, from before: [UInt8]?, to after: [UInt8]?) -> [String] {
        let (old, new) = (split(before ?? []), split(after ?? []))
        let difference = new.difference(from: old)
        var removed: Set<Int> = []
        var inserted: [Int: String] = [:]
        for change in difference {
            switch change {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, let line, _): inserted[offset] = line
            }
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

    private static func split(_ bytes: [UInt8]) -> [String] {
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        if lines.last?.isEmpty ?? false { lines.removeLast() }
        return lines.map { String(decoding: $0, as: UTF8.self) }
    }
}
