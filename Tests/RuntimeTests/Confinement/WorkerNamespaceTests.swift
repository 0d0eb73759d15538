import Glibc
import Platform
import RuntimeConfinement
import Testing

/// The network of a worker is another one, and nobody else gets into it.
@Suite struct WorkerNamespaceTests {
    /// Also on a thread that is not the first one, of which unshare(2) and setns(2) know nothing.
    @Test func aNetworkIsMadeAndLeftAgain() throws {
        let procfs = try Procfs()
        let before = try procfs.namespace(.network)
        let made = try WorkerNamespace.makeNetwork()
        let again = try WorkerNamespace.makeNetwork()
        let isInOwn = try procfs.namespace(.network).isSameNamespace(as: before)
        #expect(isInOwn)
        let isHost = try made.isSameNamespace(as: before)
        #expect(!isHost)
        let isShared = try made.isSameNamespace(as: again)
        #expect(!isShared)
    }
}
