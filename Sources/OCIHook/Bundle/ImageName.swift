import Platform

/// A container's image, as far as its engine names it in an annotation.
enum ImageName {
    /// The annotations of containerd's CRI, of CRI-O, and of the OCI's image specification.
    private static let keys = [
        "io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "org.opencontainers.image.ref.name",
    ]
    /// The longest name that is kept, in bytes.
    private static let limit = 1024

    /// Returns the name; empty if no annotation gives it.
    static func of(_ annotations: [String: String]?) -> String {
        let named = keys.lazy.compactMap { annotations?[$0] }.first { !$0.isEmpty }
        return named.map { $0.cut(toBytes: limit) } ?? ""
    }
}
