/// A table while the document is read.
///
/// Its origin decides whether later headers and keys may add to it.
final class TableUnderConstruction {
    enum Origin {
        /// Only the header of a table below it has named it.
        case implied
        case header
        case dotted
        case inline
    }

    enum Member {
        case value(Document.Entry)
        case table(TableUnderConstruction)
        /// An array of tables, of which there is one at least.
        case tables([TableUnderConstruction])

        var line: Int {
            switch self {
            case .value(let entry): entry.line
            case .table(let table): table.line
            case .tables(let tables): tables.first?.line ?? 0
            }
        }
    }

    var origin: Origin
    var line: Int
    var entries: [String: Member] = [:]

    init(_ origin: Origin, line: Int) {
        self.origin = origin
        self.line = line
    }

    func open(_ name: String, _ origin: Origin, _ line: Int) -> TableUnderConstruction {
        let table = TableUnderConstruction(origin, line: line)
        entries[name] = .table(table)
        return table
    }

    var finished: [String: Document.Entry] {
        entries.mapValues { member in
            switch member {
            case .value(let entry): entry
            case .table(let table): Document.Entry(value: .table(table.finished), line: table.line)
            case .tables(let tables):
                Document.Entry(value: .array(tables.map { .table($0.finished) }), line: member.line)
            }
        }
    }
}
