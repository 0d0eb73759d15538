import Platform

/// A place in a text where bytes were replaced by others; mostly nothing by something.
public struct Splice: Equatable, Sendable {
    /// The offset in bytes, which is the same before and after.
    public let offset: Int
    /// The bytes that were there.
    public let removed: [UInt8]
    /// The bytes that are there instead.
    public let inserted: [UInt8]

    /// Creates a splice.
    public init(offset: Int, removed: [UInt8], inserted: [UInt8]) {
        (self.offset, self.removed, self.inserted) = (offset, removed, inserted)
    }

    /// Takes the shortest splice that makes one text of another.
    init(from before: [UInt8], to after: [UInt8]) {
        let limit = min(before.count, after.count)
        var start = 0
        while start < limit, before[start] == after[start] { start += 1 }
        var end = 0
        while end < limit - start, before[before.count - 1 - end] == after[after.count - 1 - end] { end += 1 }
        offset = start
        removed = Array(before[start..<before.count - end])
        inserted = Array(after[start..<after.count - end])
    }
}

/// A text with the splices that have made it, so that they can be undone without a copy of what it was.
public struct EditedText: Sendable {
    /// The text as it is now.
    public private(set) var bytes: [UInt8]
    /// What was done, in order.
    public private(set) var splices: [Splice] = []
    /// The runtime that was an engine's default before ours was; nil if none was named.
    public var formerDefault: String?

    /// Starts with a text.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Makes another text of it by one edit.
    mutating func become(_ edited: [UInt8]) {
        guard edited != bytes else { return }
        splices.append(Splice(from: bytes, to: edited))
        bytes = edited
    }

    /// Replaces a part of it.
    mutating func replace(_ range: Range<Int>, with text: String) {
        var edited = bytes
        edited.replaceSubrange(range, with: text.utf8)
        become(edited)
    }

    /// Returns the text from before these splices; nil if it is not what they have made.
    public static func undoing(_ splices: [Splice], in bytes: [UInt8]) -> [UInt8]? {
        var bytes = bytes
        for splice in splices.reversed() {
            guard splice.offset >= 0, splice.offset <= bytes.count,
                bytes[splice.offset...].starts(with: splice.inserted)
            else { return nil }
            bytes.replaceSubrange(splice.offset..<splice.offset + splice.inserted.count, with: splice.removed)
        }
        return bytes
    }
}

/// What is known of our entries in a text, from the record of their installation.
public struct FormerEntries: Sendable {
    /// The runtime that was the engine's default.
    public var defaultRuntime: String?
    /// Whether CDI was switched on by us.
    public var switchedCDIOn: Bool

    /// Creates what is known; nothing unless told.
    public init(defaultRuntime: String? = nil, switchedCDIOn: Bool = false) {
        (self.defaultRuntime, self.switchedCDIOn) = (defaultRuntime, switchedCDIOn)
    }
}

/// A kind of text that an engine reads, and what this project changes in it.
///
/// All of it is pure.
public protocol EngineText: Sendable {
    /// What a new file has before our entries; nil if there can be none.
    var base: [UInt8] { get }
    /// Whether a text has all of our entries as they are to be.
    func isComplete(_ text: [UInt8]) throws(Failure) -> Bool
    /// Whether a text makes ours the engine's default runtime.
    func isDefault(in text: [UInt8]) throws(Failure) -> Bool
    /// Adds our entries to a text that has none of ours.
    func add(to text: inout EditedText) throws(Failure)
    /// Takes our entries out of a text, and nothing else.
    func remove(from text: inout EditedText, _ former: FormerEntries) throws(Failure)
}

extension EngineText {
    /// A text that names no default runtime.
    public func isDefault(in text: [UInt8]) throws(Failure) -> Bool { false }
}

/// The name of a default runtime that may be kept in a record: a word, and nothing that could be a secret.
func requirePlainName(_ name: String, _ path: String) throws(Failure) {
    let isPlain =
        name.utf8.count <= 64
        && name.unicodeScalars.allSatisfy { scalar in
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", "-", "_", ".": true
            default: false
            }
        }
    guard isPlain, !name.isEmpty else {
        throw Failure(
            "cannot change \(path)",
            because: "its default runtime has no plain name",
            hint: "leave out --default"
        )
    }
}
