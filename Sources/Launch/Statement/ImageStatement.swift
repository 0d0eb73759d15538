import JSONText

/// The digest of a container's image, and who says so.
enum ImageStatement {
    /// The annotations in which engines name an image by its digest: containerd's CRI, CRI-O.
    private static let keys = [
        "io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.ImageRef",
    ]
    private static let notStated = "not stated"

    /// Returns the statement about an image.
    ///
    /// It is the engine's word, or that of whoever sets the container's annotations.
    static func of(_ annotations: [(name: String, text: String)]) -> CanonicalJSON {
        for key in keys {
            guard let text = annotations.first(where: { $0.name.utf8.elementsEqual(key.utf8) })?.text,
                let digest = digest(in: text)
            else { continue }
            return .members(["digest": .string(digest), "statedBy": .string("annotation \(key)")])
        }
        return .members(["digest": .string(notStated)])
    }

    /// Returns the digest at the end of a reference, `name@sha256:…`; nil if there is none. OCI distribution-spec, "Pulling manifests"
    private static func digest(in reference: String) -> String? {
        guard let at = reference.lastIndex(of: "@") else { return nil }
        let digest = reference[reference.index(after: at)...]
        let parts = digest.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let size = ["sha256": 64, "sha512": 128][String(parts[0])],
            parts[1].utf8.count == size, parts[1].allSatisfy({ $0.isHexDigit && !$0.isUppercase })
        else { return nil }
        return String(digest)
    }
}
