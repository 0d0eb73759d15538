import Platform
import VTPMProxy

extension StandardKeys {
    /// Creates a set from the names of keys.
    ///
    /// - Throws: ``Failure`` whose reason completes `cannot use the keys:`, if a name is not known, or if a TPM cannot have all of
    ///   them.
    public init(named names: [String]) throws(Failure) {
        self = []
        for name in names {
            guard let found = StandardKey.allCases.first(where: { $0.name == name }) else {
                let known = StandardKey.allCases.map { "\"\($0.name)\"" }.joined(separator: ", ")
                throw Self.refusal("cannot hold \"\(name.excerpt)\"", hint: "known: \(known)")
            }
            if let other = elements.first(where: { $0.handle == found.handle && $0 != found }) {
                throw Self.refusal("cannot hold both \"\(other.name)\" and \"\(name)\", which have one handle")
            }
            insert(StandardKeys(found))
        }
        guard elements.count <= Self.limit else {
            throw Self.refusal("holds more keys than the \(Self.limit) that a TPM has room for")
        }
        if let identity = elements.first(where: { $0.isDeviceIdentity }),
            !elements.contains(where: { $0.isEndorsement })
        {
            throw Self.refusal("cannot hold \"\(identity.name)\" without an endorsement key, which vouches for it")
        }
    }

    private static func refusal(_ why: String, hint: String? = nil) -> Failure {
        Failure("cannot use the keys", because: why, hint: hint)
    }
}
