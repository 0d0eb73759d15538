import JSONText
import Platform

/// A JSON file that somebody else may have written, and edits of it.
func fuzzJSONText(_ bytes: UnsafeRawBufferPointer) {
    let limit = 1 << 16
    let parsed = accepted { () throws(Failure) in try JSONText(parsing: Array(bytes), path: "/file.json", limit: limit)
    }
    guard let before = parsed else { return }
    examine(before.root, in: before.bytes)
    for names in [["a"], ["new", "member"], []] {
        accepted { () throws(Failure) in
            var text = before
            try text.set("[1]", at: names)
            require(text.value(at: names)?.elements?.first?.integer == 1, "what was set is not there")
        }
        accepted { () throws(Failure) in
            var text = before
            let count = text.value(at: names)?.elements?.count ?? 0
            try text.append("1", to: names)
            require(text.value(at: names)?.elements?.count == count + 1, "what was appended is not there")
            try text.removeElements([count], of: names)
            require(text.value(at: names)?.elements?.count == count, "what was removed is there")
        }
    }
    guard let members = before.root.members, let first = members.first else { return }
    if before.root["new"] == nil {
        accepted { () throws(Failure) in
            var text = before
            try text.set("1", at: ["new", "member"])
            try text.removeMember(at: ["new"])
            require(text.bytes == before.bytes, "what was added and removed leaves a trace")
        }
    }
    must { () throws(Failure) in
        var text = before
        try text.removeMember(at: [first.name])
        require(text.root.members?.count == members.count - 1, "another number of members was removed")
    }
}

/// A value stands where it says, and a string comes back.
private func examine(_ value: JSONValue, in bytes: [UInt8]) {
    let own = Array(bytes[value.range])
    let again = must { () throws(Failure) in try JSONText(parsing: own, path: "value", limit: own.count) }
    switch (value.kind, again.root.kind) {
    case (.object(let members), .object(let others)):
        require(members.map(\.name) == others.map(\.name), "an object is another where it stands")
    case (.array(let elements), .array(let others)):
        require(elements.count == others.count, "an array is another where it stands")
    default: require(value.kind == again.root.kind, "a value is another where it stands")
    }
    if let text = value.string {
        let quoted = Array(JSONText.quoted(text).utf8)
        let read = must { () throws(Failure) in try JSONText(parsing: quoted, path: "value", limit: quoted.count) }
        require(read.root.string.map { $0.utf8.elementsEqual(text.utf8) } ?? false, "a string does not come back")
    }
    // Once, not at each depth: a value that is nested deep would be parsed as often.
    for element in (value.elements ?? []) + (value.members ?? []).map(\.value) where element.elements == nil {
        if element.members == nil { examine(element, in: bytes) }
    }
}
