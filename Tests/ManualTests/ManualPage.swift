import Foundation

/// A page of the manual: mdoc(7), of which the tests read headings, options, arguments, paths and other pages' names.
struct ManualPage {
    /// A part of a page, below its heading.
    struct Section {
        let heading: String
        let lines: [Substring]

        /// The lines before the first paragraph.
        private var synopsis: ArraySlice<Substring> { lines.prefix { $0 != ".Pp" } }

        /// The long options of the synopsis.
        var options: [String] { synopsis.flatMap(ManualPage.options) }
        /// The arguments of the synopsis that belong to no option.
        var positionals: [String] {
            synopsis.filter { $0.hasPrefix(".Ar ") || $0.hasPrefix(".Op Ar ") }
                .flatMap { $0.split(separator: " ").drop { $0 != "Ar" && $0 != ".Ar" }.dropFirst() }
                .map(String.init).filter { $0 != "..." }
        }
        /// The long options that are explained.
        var explained: [String] { items.flatMap(ManualPage.options) }
        /// What stands in the items of its lists.
        var items: [String] { lines.filter { $0.hasPrefix(".It ") }.map { String($0.dropFirst(4)) } }
    }

    let file: String
    let text: String

    init(_ file: String) throws {
        self.file = file
        text = try SourceTree.text(of: "docs/man/\(file)")
    }

    /// Returns all of them.
    static func all() throws -> [ManualPage] {
        try SourceTree.files(below: "docs/man", ending: (1...8).map { ".\($0)" })
            .map { try ManualPage(String($0.dropFirst("docs/man/".count))) }
    }

    /// The name, as in `vtpmctl`.
    var name: String { String(file.dropLast(2)) }
    /// The section of the manual.
    var number: String { String(file.suffix(1)) }

    /// Returns the sections, or the subsections.
    func sections(_ macro: String) -> [Section] {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return lines.indices.filter { lines[$0].hasPrefix(".\(macro) ") }.map { start in
            let rest = lines[(start + 1)...].prefix { !$0.hasPrefix(".Sh ") && !$0.hasPrefix(".\(macro) ") }
            return Section(heading: String(lines[start].dropFirst(macro.count + 2)), lines: Array(rest))
        }
    }

    /// Returns the names of long options in a line.
    static func options(_ line: some StringProtocol) -> [String] {
        String(line).matches(of: /Fl -([a-z][a-z-]*)/).map { String($0.1) }
    }
}
