/// The names of environment variables and annotations whose values are in a statement; of all others only the names are.
public struct PublicNames: Equatable, Sendable {
    /// Names of environment variables; one that ends with `*` stands for all that begin so.
    public var environment: [String]
    /// Names of annotations, written in the same way.
    public var annotations: [String]

    /// Creates both lists.
    public init(environment: [String], annotations: [String]) {
        self.environment = environment
        self.annotations = annotations
    }

    /// Returns whether a list has a name.
    static func contains(_ list: [String], _ name: String) -> Bool {
        list.contains { pattern in
            pattern.utf8.last == UInt8(ascii: "*")
                ? name.utf8.starts(with: pattern.utf8.dropLast()) : name.utf8.elementsEqual(pattern.utf8)
        }
    }
}
