import Crypto
import Platform

/// The tree of the host index's records: the file `tree.N`.
///
/// Each node has two places in the file. A changed node is written to the place that it is not in, then the nodes above
/// it, up to the root's reference. So the nodes of the old root are unchanged until the new root is on stable storage.
/// The path to a record is only as long as its key needs to differ from others': four nodes at most for ten million
/// states.
struct IndexTree: ~Copyable {
    private let file: Descriptor
    private let disk: any Disk
    private let path: String
    /// The number of nodes that were ever allocated.
    private(set) var nodes: UInt64

    init(_ file: consuming Descriptor, nodes: UInt64, disk: any Disk, path: String) {
        self.file = file
        self.nodes = nodes
        self.disk = disk
        self.path = path
    }

    // MARK: - Reading

    private borrowing func read(_ reference: IndexNode.Reference) throws(Failure) -> IndexNode {
        let damaged = Failure(
            "cannot load the index \(path)",
            because: "its tree is damaged",
            hint: "restore all of its files from a backup"
        )
        let bytes = try file.readAll(count: Int(reference.length), at: reference.offset, path)
        guard bytes.count == Int(reference.length), try SHA256.digest(bytes) == reference.digest,
            let node = IndexNode(decoding: bytes)
        else { throw damaged }
        return node
    }

    /// Returns the record with this key, or nil if there is none.
    borrowing func record(_ key: [UInt8], below top: IndexNode.Reference) throws(Failure) -> [UInt8]? {
        var reference = top
        var depth = 0
        while true {
            switch try read(reference) {
            case .leaf(let records):
                return records.first { $0.key == key }?.bytes
            case .branch(let children):
                let value = IndexNode.value(of: key, at: depth)
                guard let child = children.first(where: { $0.value == value }) else { return nil }
                reference = child.reference
                depth += 1
            }
        }
    }

    /// Calls `body` with the records whose keys are greater than `last`, in the order of their keys.
    ///
    /// If `last` is empty, these are all records.
    borrowing func each(
        after last: [UInt8],
        below top: IndexNode.Reference,
        _ body: (IndexNode.Record) throws(Failure) -> Void
    ) throws(Failure) {
        try each(after: last, below: top, depth: 0, isBound: !last.isEmpty, body)
    }

    private borrowing func each(
        after last: [UInt8],
        below reference: IndexNode.Reference,
        depth: Int,
        isBound: Bool,
        _ body: (IndexNode.Record) throws(Failure) -> Void
    ) throws(Failure) {
        switch try read(reference) {
        case .leaf(let records):
            for record in records where !isBound || last.lexicographicallyPrecedes(record.key) { try body(record) }
        case .branch(let children):
            let first = isBound ? IndexNode.value(of: last, at: depth) : 0
            for child in children where child.value >= first {
                try each(
                    after: last,
                    below: child.reference,
                    depth: depth + 1,
                    isBound: isBound && child.value == first,
                    body
                )
            }
        }
    }

    // MARK: - Writing

    /// A change of one record: its new bytes, or nil to remove it.
    struct Change {
        var key: [UInt8]
        var bytes: [UInt8]?
    }

    /// Writes a tree of these records; returns the reference to its topmost node.
    ///
    /// Nothing is synced.
    mutating func build(_ records: [IndexNode.Record]) throws(Failure) -> IndexNode.Reference {
        try write(records.sorted { $0.key.lexicographicallyPrecedes($1.key) }, to: allot(), depth: 0)
    }

    /// Writes a tree with these changes; returns the reference to its topmost node.
    ///
    /// The changes are in the order of their keys. Nothing is synced.
    mutating func apply(
        _ changes: [Change],
        to top: IndexNode.Reference
    ) throws(Failure) -> IndexNode.Reference {
        try apply(changes, to: top, depth: 0)
    }

    private mutating func apply(
        _ changes: [Change],
        to reference: IndexNode.Reference,
        depth: Int
    ) throws(Failure) -> IndexNode.Reference {
        let place = IndexNode.Reference(node: reference.node, slot: 1 - reference.slot, length: 0, digest: [])
        switch try read(reference) {
        case .leaf(let records):
            return try write(Self.merge(changes, into: records), to: place, depth: depth)
        case .branch(var children):
            for (value, changes) in Self.split(changes, at: depth, by: { $0.key }) {
                if let index = children.firstIndex(where: { $0.value == value }) {
                    children[index].reference = try apply(
                        changes,
                        to: children[index].reference,
                        depth: depth + 1
                    )
                } else {
                    let records = Self.merge(changes, into: [])
                    if records.isEmpty { continue }
                    let new = try write(records, to: allot(), depth: depth + 1)
                    let index = children.firstIndex { $0.value > value } ?? children.count
                    children.insert(IndexNode.Child(value: value, reference: new), at: index)
                }
            }
            return try write(.branch(children), to: place)
        }
    }

    /// Merges changes into records, both in the order of their keys.
    private static func merge(_ changes: [Change], into records: [IndexNode.Record]) -> [IndexNode.Record] {
        var merged: [IndexNode.Record] = []
        var rest = changes[...]
        func take(_ change: Change) {
            if let bytes = change.bytes { merged.append(IndexNode.Record(key: change.key, bytes: bytes)) }
        }
        for record in records {
            while let change = rest.first, change.key.lexicographicallyPrecedes(record.key) {
                take(change)
                rest = rest.dropFirst()
            }
            if let change = rest.first, change.key == record.key {
                take(change)
                rest = rest.dropFirst()
            } else {
                merged.append(record)
            }
        }
        for change in rest { take(change) }
        return merged
    }

    /// Splits elements in the order of their keys into parts that have the same six bits.
    private static func split<Element>(
        _ elements: [Element],
        at depth: Int,
        by key: (Element) -> [UInt8]
    ) -> [(value: UInt8, part: [Element])] {
        var parts: [(value: UInt8, part: [Element])] = []
        for element in elements {
            let value = IndexNode.value(of: key(element), at: depth)
            if parts.last?.value == value {
                parts[parts.count - 1].part.append(element)
            } else {
                parts.append((value, [element]))
            }
        }
        return parts
    }

    /// Writes records as a leaf if they fit into one, and as a branch otherwise.
    private mutating func write(
        _ records: [IndexNode.Record],
        to place: IndexNode.Reference,
        depth: Int
    ) throws(Failure) -> IndexNode.Reference {
        guard IndexNode.size(of: records) > IndexNode.sizeLimit else { return try write(.leaf(records), to: place) }
        var children: [IndexNode.Child] = []
        for (value, part) in Self.split(records, at: depth, by: { $0.key }) {
            let reference = try write(part, to: allot(), depth: depth + 1)
            children.append(IndexNode.Child(value: value, reference: reference))
        }
        return try write(.branch(children), to: place)
    }

    private mutating func allot() -> IndexNode.Reference {
        defer { nodes += 1 }
        return IndexNode.Reference(node: nodes, slot: 0, length: 0, digest: [])
    }

    private borrowing func write(
        _ node: IndexNode,
        to place: IndexNode.Reference
    ) throws(Failure) -> IndexNode.Reference {
        let bytes = node.encoded
        try disk.write(bytes, to: file, at: place.offset, as: path)
        return IndexNode.Reference(
            node: place.node,
            slot: place.slot,
            length: UInt32(bytes.count),
            digest: try SHA256.digest(bytes)
        )
    }

    /// Waits until all that was written is on stable storage.
    borrowing func synchronize() throws(Failure) {
        try disk.synchronizeData(file, as: path)
    }
}
