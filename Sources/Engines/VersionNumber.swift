/// The first version number in a text, such as 26.1.5 in `Docker version 26.1.5+dfsg1`.
public struct VersionNumber: Comparable, CustomStringConvertible, Sendable {
    private let parts: [Int]

    /// Creates it from its parts, the most significant one first.
    public init(_ parts: Int...) { self.parts = parts }

    /// Takes the first number with a dot in it; returns nil if there is none.
    public init?(in text: String) {
        for word in text.split(whereSeparator: { !$0.isNumber && $0 != "." }) {
            let parts = word.split(separator: ".").compactMap { Int($0) }
            guard parts.count > 1 else { continue }
            self.parts = parts
            return
        }
        return nil
    }

    public var description: String { parts.map(String.init).joined(separator: ".") }

    /// A part that is missing is 0.
    public static func < (one: VersionNumber, other: VersionNumber) -> Bool {
        for index in 0..<max(one.parts.count, other.parts.count) {
            let (a, b) = (one.part(index), other.part(index))
            if a != b { return a < b }
        }
        return false
    }

    public static func == (one: VersionNumber, other: VersionNumber) -> Bool { !(one < other) && !(other < one) }

    private func part(_ index: Int) -> Int { index < parts.count ? parts[index] : 0 }
}
