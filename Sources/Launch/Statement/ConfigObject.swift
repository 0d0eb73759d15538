import JSONText
import Platform

/// An object of a `config.json`, each of whose members is known by its name.
///
/// A member that is missing, and one that is null, are the same, as they are to the runtimes.
struct ConfigObject {
    /// The names that lead to it; none for the text itself.
    private let names: [String]
    private let members: [JSONMember]
    /// Those of its members that nothing here knows, with the names that lead to them.
    let unknown: [(names: [String], value: JSONValue)]

    /// Takes over an object; one that is missing has no members.
    ///
    /// - Throws: ``Failure`` if the value is no object, or if a member has the name of a known one in another case: runc would
    ///   take it for that.
    init(_ value: JSONValue?, _ names: [String], known: [String]) throws(Failure) {
        self.names = names
        guard let value, value.kind != .null else {
            members = []
            unknown = []
            return
        }
        guard let members = value.members else { throw Self.refusal(names, "is \(value.kindName), and no object") }
        self.members = members
        var unknown: [(names: [String], value: JSONValue)] = []
        for member in members where !known.contains(where: { $0.utf8.elementsEqual(member.name.utf8) }) {
            let all = names + [member.name]
            if let own = known.first(where: { $0.foldedAsByGo == member.name.foldedAsByGo }) {
                throw Self.refusal(all, "is not \"\(own)\", and runc takes it for that")
            }
            unknown.append((all, member.value))
        }
        self.unknown = unknown
    }

    private static func refusal(_ names: [String], _ why: String) -> Failure {
        Failure("cannot measure the launch", because: "\(names.joined(separator: ".").excerpt) of config.json \(why)")
    }

    private func refusal(of name: String, _ value: JSONValue, _ expected: String) -> Failure {
        Self.refusal(names + [name], "is \(value.kindName), and not \(expected)")
    }

    /// Returns a member's value; nil if it is missing.
    func value(_ name: String) -> JSONValue? {
        guard let value = members.first(where: { $0.name.utf8.elementsEqual(name.utf8) })?.value, value.kind != .null
        else { return nil }
        return value
    }

    /// Returns an object below this one, which has no members if it is missing.
    func object(_ name: String, known: [String]) throws(Failure) -> ConfigObject {
        try ConfigObject(value(name), names + [name], known: known)
    }

    /// Returns the objects of an array, none if it is missing.
    func objects(_ name: String, known: [String]) throws(Failure) -> [ConfigObject] {
        var objects: [ConfigObject] = []
        for (index, element) in try elements(name).enumerated() {
            objects.append(try ConfigObject(element, names + [name, "\(index)"], known: known))
        }
        return objects
    }

    private func elements(_ name: String) throws(Failure) -> [JSONValue] {
        guard let value = value(name) else { return [] }
        guard let elements = value.elements else { throw refusal(of: name, value, "an array") }
        return elements
    }

    /// Returns a string; nil if it is missing.
    func string(_ name: String) throws(Failure) -> String? {
        guard let value = value(name) else { return nil }
        guard let string = value.string else { throw refusal(of: name, value, "a string") }
        return string
    }

    /// Returns the strings of an array, none if it is missing.
    func strings(_ name: String) throws(Failure) -> [String] {
        var strings: [String] = []
        for element in try elements(name) {
            guard let string = element.string else { throw refusal(of: name, element, "a string") }
            strings.append(string)
        }
        return strings
    }

    /// Returns whether a member is true; one that is missing is not.
    func flag(_ name: String) throws(Failure) -> Bool {
        guard let value = value(name) else { return false }
        guard let flag = value.bool else { throw refusal(of: name, value, "true or false") }
        return flag
    }

    /// Returns a number as it is written, or nil if it is missing.
    func number(_ name: String) throws(Failure) -> CanonicalJSON? {
        guard let value = value(name) else { return nil }
        guard case .number = value.kind else { throw refusal(of: name, value, "a number") }
        return CanonicalJSON(measured: value)
    }

    /// Returns whether a number is zero, however it is written; one that is missing is.
    func isZero(_ name: String) throws(Failure) -> Bool {
        guard let value = value(name) else { return true }
        guard case .number(let literal) = value.kind else { throw refusal(of: name, value, "a number") }
        return Double(literal) == 0
    }

    /// Returns names and their texts, as annotations are written; none if they are missing.
    func texts(_ name: String) throws(Failure) -> [(name: String, text: String)] {
        guard let value = value(name) else { return [] }
        guard let members = value.members else { throw refusal(of: name, value, "an object") }
        var texts: [(name: String, text: String)] = []
        for member in members {
            guard let text = member.value.string else {
                throw refusal(of: "\(name).\(member.name)", member.value, "a string")
            }
            texts.append((member.name, text))
        }
        return texts
    }
}

extension [String] {
    /// The strings in the order of their bytes, each once: what counts is which there are.
    var asSet: [String] {
        var seen: Set<[UInt8]> = []
        return filter { seen.insert([UInt8]($0.utf8)).inserted }.sortedByBytes { $0 }
    }
}

extension Array {
    /// Returns the elements in the order of a text's bytes; those with the same one stay in their order.
    func sortedByBytes(_ text: (Element) -> String) -> [Element] {
        enumerated().map { (offset: $0.offset, bytes: text($0.element).utf8.map { $0 }, element: $0.element) }
            .sorted {
                $0.bytes == $1.bytes ? $0.offset < $1.offset : $0.bytes.lexicographicallyPrecedes($1.bytes)
            }
            .map(\.element)
    }
}
