import Testing

@testable import Launch

/// What is read of the kernel about a root file system; `67-verified-root` has real ones.
struct VerifiedRootTests {
    @Test(
        arguments: [
            ("1 7:1 7:2 4096 4096 4096 1 sha256 ab12 cd", "sha256:ab12"),
            ("1 7:1 7:2 4096 4096 4096 1 sha512 ab12 -", "sha512:ab12"),
            ("1 7:1 7:2 4096 4096 4096 1 sha256 ab12 cd 1 restart_on_corruption", "sha256:ab12"),
            // What is read in spite of it, or once only.
            ("1 7:1 7:2 4096 4096 4096 1 sha256 ab12 cd 1 ignore_corruption", nil),
            ("1 7:1 7:2 4096 4096 4096 1 sha256 ab12 cd 2 check_at_most_once ignore_zero_blocks", nil),
            // Another format, and a line that is cut off.
            ("0 7:1 7:2 4096 4096 4096 1 sha256 ab12 cd", nil), ("1 7:1 7:2 4096 4096 4096 1 sha256 ab12", nil),
            ("", nil),
        ]
    )
    func aTableHasARootHash(line: String, hash: String?) { #expect(MappedDevice.rootHash(inTable: line) == hash) }

    @Test(
        arguments: [
            ("/run/b/rootfs", "/run/b/rootfs", "/", "/"), ("/run/b/rootfs", "/run", "/", "/b/rootfs"),
            ("/run/b/rootfs", "/", "/sub", "/sub/run/b/rootfs"), ("/run/b", "/run/b", "/images/one", "/images/one"),
            ("/run/bundle", "/run/b", "/", nil),
        ]
    )
    func theRootHasAPathInItsFileSystem(path: String, point: String, top: String, inner: String?) {
        #expect(VerifiedRoot.inner(path: path, below: point, top) == inner)
    }
}
