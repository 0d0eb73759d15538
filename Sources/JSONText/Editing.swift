import Platform

extension JSONText {
    /// Gives the member that these names lead to a value, which `json` is the text of.
    ///
    /// It replaces the value that is there, and makes the objects that are missing, or null, on the way. A new member is
    /// the last of its object, and begins as the one before it does. No names at all stand for the whole value.
    ///
    /// - Throws: ``Failure`` if a value on the way is no object, `json` is no JSON value, or the text gets larger than
    ///   its limit; the text stays as it was.
    public mutating func set(_ json: String, at names: [String]) throws(Failure) {
        try requireValue(json)
        var value = root
        for (index, name) in names.enumerated() {
            if let next = value[name] {
                value = next
                continue
            }
            let rest = names[(index + 1)...]
            let nested = rest.map { "{\(Self.quoted($0)): " }.joined() + json + rest.map { _ in "}" }.joined()
            if value.kind == .null, index > 0 {
                try splice((value.range, "{" + Self.quoted(name) + ": " + nested + "}"))
                return
            }
            guard let members = value.members else { throw misfit(names.prefix(index), value, "an object") }
            guard let last = members.last else {
                try splice(fill(value, with: Self.quoted(name) + ": " + nested))
                return
            }
            let colon = text(last.nameRange.upperBound..<last.value.range.lowerBound)
            let added = "," + spaceBefore(last.range.lowerBound) + Self.quoted(name) + colon + nested
            try splice((last.range.upperBound..<last.range.upperBound, added))
            return
        }
        try splice((value.range, json))
    }

    /// Adds a value, which `json` is the text of, at the end of the array that these names lead to.
    ///
    /// An array that is missing, or null, is made, as by ``set(_:at:)``.
    ///
    /// - Throws: ``Failure`` if another value is in its place, or as ``set(_:at:)`` does.
    public mutating func append(_ json: String, to names: [String]) throws(Failure) {
        try requireValue(json)
        guard let array = value(at: names), array.kind != .null else {
            try set("[\(json)]", at: names)
            return
        }
        guard let elements = array.elements else { throw misfit(names[...], array, "an array") }
        guard let last = elements.last else {
            try splice(fill(array, with: json))
            return
        }
        let end = last.range.upperBound
        try splice((end..<end, "," + spaceBefore(last.range.lowerBound) + json))
    }

    /// Removes the member that these names lead to, with its comma; does nothing if there is none.
    ///
    /// - Throws: ``Failure`` if no name is given.
    public mutating func removeMember(at names: [String]) throws(Failure) {
        guard let name = names.last else {
            throw Failure("cannot change \(path)", because: "its whole value cannot be removed")
        }
        guard let object = value(at: names.dropLast()), let members = object.members,
            let index = members.firstIndex(where: { $0.name.utf8.elementsEqual(name.utf8) })
        else { return }
        try removeItems([index], of: members.map(\.range), in: object.range)
    }

    /// Removes elements, counted from 0 on, of the array that these names lead to, with their commas.
    ///
    /// The text is parsed once more in all, and not for each element: somebody may have put thousands there.
    ///
    /// - Throws: ``Failure`` if there is no such array or element; the text stays as it was.
    public mutating func removeElements(_ indices: Set<Int>, of names: [String]) throws(Failure) {
        guard let highest = indices.max(), let lowest = indices.min() else { return }
        guard let array = value(at: names), let elements = array.elements, lowest >= 0, highest < elements.count else {
            let missing = lowest < 0 ? lowest : highest
            throw Failure("cannot change \(path)", because: "\(Self.name(names[...])) has no element \(missing)")
        }
        try removeItems(indices, of: elements.map(\.range), in: array.range)
    }

    private mutating func removeItems(
        _ indices: Set<Int>,
        of items: [Range<Int>],
        in whole: Range<Int>
    ) throws(Failure) {
        guard let first = items.indices.first(where: { !indices.contains($0) }) else {
            return try splice((whole.lowerBound + 1..<whole.upperBound - 1, ""))
        }
        // What stands before the first that stays goes with the comma after it, and all else with the one before.
        var edits = first > 0 ? [(items[0].lowerBound..<items[first].lowerBound, "")] : []
        for index in indices.sorted() where index > first {
            edits.append((items[index - 1].upperBound..<items[index].upperBound, ""))
        }
        try splice(edits)
    }

    /// Replaces bytes, and parses what comes of it.
    private mutating func splice(_ edit: (range: Range<Int>, text: String)) throws(Failure) {
        try splice([edit])
    }

    /// Replaces bytes in several places, which are in the order of the text.
    private mutating func splice(_ edits: [(range: Range<Int>, text: String)]) throws(Failure) {
        var edited: [UInt8] = []
        var end = 0
        for edit in edits {
            edited += bytes[end..<edit.range.lowerBound]
            edited += edit.text.utf8
            end = edit.range.upperBound
        }
        edited += bytes[end...]
        self = try JSONText(parsing: edited, path: path, limit: limit)
    }

    /// Returns the edit that puts the first item into an empty object or array.
    ///
    /// Where the text's members have lines of their own, it gets one too.
    private func fill(_ whole: JSONValue, with item: String) -> (range: Range<Int>, text: String) {
        let start = whole.range.lowerBound + 1
        let isOpen = bytes[start..<whole.range.upperBound].contains(UInt8(ascii: "\n"))
        guard let step = indentation, isOpen || whole.range != root.range else { return (start..<start, item) }
        let outer = lineIndentation(at: whole.range.lowerBound)
        return (start..<start, "\n" + outer + step + item + (isOpen ? "" : "\n" + outer))
    }

    /// The white space by which members are indented; nil if members have no lines of their own.
    private var indentation: String? {
        guard let first = root.members?.first else {
            return bytes[root.range].contains(UInt8(ascii: "\n")) ? "    " : nil
        }
        let space = spaceBefore(first.range.lowerBound).utf8
        guard let end = space.lastIndex(of: UInt8(ascii: "\n")) else { return nil }
        return String(decoding: space[space.index(after: end)...], as: UTF8.self)
    }

    /// The white space at the beginning of the line that this byte is in.
    private func lineIndentation(at offset: Int) -> String {
        let start = bytes[..<offset].lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        return String(decoding: bytes[start..<offset].prefix { $0 == 0x20 || $0 == 0x09 }, as: UTF8.self)
    }

    private func spaceBefore(_ offset: Int) -> String {
        String(decoding: bytes[..<offset].reversed().prefix(while: \.isJSONSpace).reversed(), as: UTF8.self)
    }

    private func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    private func requireValue(_ json: String) throws(Failure) {
        _ = try JSONText(parsing: Array(json.utf8), path: "the value for \(path)", limit: limit)
    }

    private func misfit(_ names: ArraySlice<String>, _ value: JSONValue, _ wanted: String) -> Failure {
        Failure("cannot change \(path)", because: "\(Self.name(names)) is \(value.kindName) and not \(wanted)")
    }

    private static func name(_ names: ArraySlice<String>) -> String {
        names.isEmpty ? "its value" : "\"\(names.joined(separator: ".").excerpt)\""
    }
}
