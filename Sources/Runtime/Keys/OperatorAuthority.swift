import CLinux
import Configuration
import Glibc
import Platform
import RuntimeState

/// A certificate authority of the operator's own: a key and certificates in files, which this program only reads.
public struct OperatorAuthority {
    private let files: Configuration.Authority.Files

    /// The largest file with certificates, in bytes: the authority's and those above it.
    private static let certificatesLimit = 16 * 1024

    /// Creates the description of the files.
    public init(_ files: Configuration.Authority.Files) { self.files = files }

    /// Loads both files as they are, in PEM; who uses them parses them.
    ///
    /// Only root may be able to read the key and to change the certificates.
    public func load() throws(Failure) -> AuthorityKey {
        guard case .file(let path) = files.key else {
            throw Failure("cannot load the certificate authority's key", because: "a command signs in its place")
        }
        let file = KeyFile(path: path, disk: LocalDisk(), name: "the certificate authority's key")
        guard let key = try file.read() else {
            throw Failure(
                "cannot load the certificate authority's key \(path)",
                because: "there is no such file",
                hint: "[authority] in the configuration names it"
            )
        }
        return AuthorityKey(key, chain: [try certificates()])
    }

    /// Loads the file of the certificates, in PEM.
    public func certificates() throws(Failure) -> [UInt8] {
        let path = files.certificates
        let what = "cannot load the certificate authority's certificate \(path)"
        let file = try Descriptor.open(path, OpenOptions(O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY), as: path)
        let status = try file.status(path)
        guard status.st_mode & S_IFMT == S_IFREG else { throw Failure(what, because: "it is no regular file") }
        guard status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
            throw Failure(
                what,
                because: "others may change it",
                hint: "chown \(geteuid()) \(path.shellWord) && chmod go-w \(path.shellWord)"
            )
        }
        return try file.readAll(limit: Self.certificatesLimit, path)
    }
}
