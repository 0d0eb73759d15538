import Configuration
import Platform
import VTPMProxy

// What a container's annotations choose of its TPM.
extension Configuration.Manufacture {
    /// Takes over what the annotations choose.
    ///
    /// - Throws: ``Failure`` if the configuration does not allow them, or if they name what is not known.
    mutating func obey(_ annotations: Annotations) throws(Failure) {
        if let names = annotations[.keys] {
            try requireAllowed(.keys)
            let list =
                names.isEmpty ? [] : names.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            do throws(Failure) {
                keys = try StandardKeys(named: list)
            } catch {
                throw Self.refusal(of: .keys, error.why, hint: error.hint)
            }
        }
        if let value = annotations[.certificates] {
            try requireAllowed(.certificates)
            switch value {
            case "none": certificates = .none
            case "issued": certificates = .all
            default: throw Self.refusal(of: .certificates, "\"\(value.excerpt)\" is neither \"none\" nor \"issued\"")
            }
        }
    }

    private func requireAllowed(_ key: Annotations.Key) throws(Failure) {
        guard !obeysAnnotations else { return }
        throw Self.refusal(
            of: key,
            "the configuration does not let annotations choose a TPM's keys",
            hint: "manufacture.annotations = true"
        )
    }

    private static func refusal(of key: Annotations.Key, _ why: String, hint: String? = nil) -> Failure {
        Failure("cannot obey the annotation \(key.rawValue)", because: why, hint: hint)
    }
}
