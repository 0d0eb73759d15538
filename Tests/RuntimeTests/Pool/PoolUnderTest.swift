import Configuration
import Foundation
import Glibc
import Platform
import RuntimeControl
import RuntimeState
import Testing
import VTPMProxy

@testable import RuntimePool

/// A pool in memory, of a host that is a temporary directory.
final class PoolUnderTest {
    let temporary: TemporaryDirectory
    let directory: String
    var paths: HostPaths
    let library = LibraryVersion(0, 9, 2)
    static let machineID = "0123456789abcdef0123456789abcdef"

    init() throws {
        temporary = try TemporaryDirectory()
        var template = Array("/dev/shm/container-vtpm-pool.XXXXXX".utf8CString)
        directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        paths = HostPaths(below: temporary.path, programs: "")
        paths.pool = "\(directory)/pool"
        try temporary.write("machine-id", Array("\(Self.machineID)\n".utf8))
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    var pool: TPMPool { TPMPool(paths) }

    /// What this host demands; another one's machine ID, TPM, master keys or keys can be named.
    func demand(
        machineID: String = machineID,
        hostTPM: [UInt8] = [],
        masters: [UInt8] = [1],
        provision: TPMProvision = .standard
    ) throws -> TPMPool.Demand {
        let all = try masters.map { try MasterKey(secret($0)) }
        return TPMPool.Demand(
            of: try HostBinding(machineID: machineID, hostTPM: hostTPM),
            provision,
            ring: KeyRing(all[0], previous: all.count > 1 ? all[1] : nil)
        )
    }

    /// The same, as the closures of the pool want it.
    func demandOfHost() throws(Failure) -> TPMPool.Demand {
        do { return try demand() } catch { throw error as? Failure ?? Failure("no demand", because: "\(error)") }
    }

    /// Adds stand-ins for TPMs, whose states are these texts.
    func add(_ states: [String], as demand: TPMPool.Demand? = nil, library: LibraryVersion? = nil) throws {
        let filling = try PoolFilling(pool)
        let made = try demand ?? self.demand()
        for state in states {
            let tpm = PooledTPM(
                state: try secretCopy(of: Array(state.utf8)),
                provision: .standard,
                library: library ?? self.library
            )
            try filling.add(tpm, for: made.host, try #require(made.ring).current)
        }
    }

    func claim(_ demand: TPMPool.Demand? = nil) throws -> String? {
        let wanted = try demand ?? self.demand()
        let tpm = try pool.claim { () throws(Failure) in wanted }
        return tpm.map { String(decoding: $0.state.withBytes { Array($0) }, as: UTF8.self) }
    }

    var files: [String] { (try? FileManager.default.contentsOfDirectory(atPath: paths.pool)) ?? [] }
}
