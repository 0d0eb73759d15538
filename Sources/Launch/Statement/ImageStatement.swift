import JSONText

/// The digest of a container's image, and who says so.
enum ImageStatement {
    /// The annotations in which engines name an image: containerd's CRI, and CRI-O.
    ///
    /// Each engine sets its own after those of a pod's author, who may set the other's.
    private static let keys = [
        ["io.kubernetes.cri.image-name"], ["io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.ImageRef"],
    ]
    private static let notStated = CanonicalJSON.members(["digest": .string("not stated")])

    /// Returns the statement about an image.
    ///
    /// It is the engine's word, or that of whoever sets the container's annotations. Where the annotations of two engines are
    /// there, or two that disagree, nobody says.
    static func of(_ annotations: [(name: String, text: String)]) -> CanonicalJSON {
        let found = keys.map { keys in annotations.filter { given in keys.contains { $0.isSame(as: given.name) } } }
        let engines = found.filter { !$0.isEmpty }
        guard engines.count == 1 else { return notStated }
        let digests = engines[0].compactMap { given in digest(in: given.text).map { (given.name, $0) } }
        guard let (key, digest) = digests.first, digests.allSatisfy({ $0.1.isSame(as: digest) }) else {
            return notStated
        }
        return .members(["digest": .string(digest), "statedBy": .string("annotation \(key)")])
    }

    /// Returns the digest at the end of a reference, `name@sha256:…`; nil if there is none. OCI distribution-spec, "Pulling manifests"
    private static func digest(in reference: String) -> String? {
        let halves = reference.parts(at: "@")
        guard halves.count == 2 else { return nil }
        let parts = halves[1].parts(at: ":")
        guard parts.count == 2, let size = ["sha256": 64, "sha512": 128][parts[0]],
            VolatileParts.isHexadecimal(parts[1], size)
        else { return nil }
        return halves[1]
    }
}
