import Platform

/// Lines of ours in a TOML file, between two comments by which they are found again.
enum MarkedBlock {
    private static let begin = "# container-vtpm: begin"
    private static let end = "# container-vtpm: end"

    /// Returns the lines with their marks; `engine` is the one whose removal takes them out.
    static func text(_ lines: [String], of engine: Engine, indentation: String = "") -> String {
        let marked =
            ["\(begin) (vtpmctl engine remove \(engine.rawValue) takes these lines out)"] + lines + [end]
        return marked.map { $0.isEmpty ? "\n" : indentation + $0 + "\n" }.joined()
    }

    /// Puts lines at the end of a text.
    static func append(_ lines: [String], of engine: Engine, to text: inout EditedText) {
        let count = text.bytes.count
        let isOpen = count > 0 && text.bytes[count - 1] != UInt8(ascii: "\n")
        text.replace(count..<count, with: (isOpen ? "\n" : "") + Self.text(lines, of: engine))
    }

    /// Takes all marked lines out of a text.
    ///
    /// - Throws: ``Failure`` if a mark lacks its other one, in which case nobody knows where our lines end.
    static func cut(from text: inout EditedText, _ path: String) throws(Failure) {
        var kept: [UInt8] = []
        var isOurs = false
        for line in lines(of: text.bytes) {
            let words = line.drop { $0 == 0x20 || $0 == 0x09 }
            if words.starts(with: begin.utf8) {
                guard !isOurs else { throw unpaired(path) }
                isOurs = true
            } else if words.starts(with: end.utf8) {
                guard isOurs else { throw unpaired(path) }
                isOurs = false
            } else if !isOurs {
                kept += line
            }
        }
        guard !isOurs else { throw unpaired(path) }
        text.become(kept)
    }

    private static func unpaired(_ path: String) -> Failure {
        Failure(
            "cannot change \(path)",
            because: "one of the comments \"\(begin)\" and \"\(end)\" lacks the other",
            hint: "take our lines out by hand"
        )
    }

    /// The lines, each with its line feed.
    private static func lines(of bytes: [UInt8]) -> [ArraySlice<UInt8>] {
        var lines: [ArraySlice<UInt8>] = []
        var start = 0
        for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "\n") {
            lines.append(bytes[start...index])
            start = index + 1
        }
        if start < bytes.count { lines.append(bytes[start...]) }
        return lines
    }
}
