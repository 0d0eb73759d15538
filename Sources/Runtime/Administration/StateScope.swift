import Platform

/// A part of a host's states: those whose IDs are below a scope, a namespace or a pod, such as `containerd/default`.
public struct StateScope: Equatable, Sendable, CustomStringConvertible {
    /// Its name, in the form that state IDs have.
    public let description: String
    /// What each ID in it begins with, in bytes.
    private let prefix: [UInt8]

    /// Takes the name of a scope, with slashes between its parts.
    ///
    /// - Throws: ``Failure`` if a part is empty: a script whose variable is empty must not get the scope above.
    public init(_ name: String) throws(Failure) {
        let parts = name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !$0.isEmpty }) else {
            throw Failure(
                "cannot use \"\(name.excerpt)\" as a scope",
                because: "a part of it is empty",
                hint: "for example containerd/default"
            )
        }
        description = name
        prefix = Array("\(name)/".utf8)
    }

    /// Returns whether a state's ID is below the scope, byte by byte.
    public func contains(_ stateID: String) -> Bool { stateID.utf8.starts(with: prefix) }

    /// Returns whether a state's ID is made of the names of a pod and its container.
    ///
    /// No other form has five parts. docs/configuration.md, `[state]`
    static func isPods(_ stateID: String) -> Bool {
        let parts = stateID.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        return parts.count == 5 && parts[2].elementsEqual("pod".utf8)
    }
}
