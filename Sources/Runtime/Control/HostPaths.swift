import Glibc
import Platform

/// The paths of this project's files on a host.
public struct HostPaths: Sendable {
    /// The directory that has a directory for each state.
    public var states = "/var/lib/container-vtpm/states"
    /// The directory of the host's index.
    public var index = "/var/lib/container-vtpm/index"
    /// The directory of states that were put aside.
    public var quarantine = "/var/lib/container-vtpm/quarantine"
    /// The directory of master keys.
    public var keys = "/var/lib/container-vtpm/keys"
    /// The file of the certificate authority's key, in that directory.
    public var authorityKey = "/var/lib/container-vtpm/keys/authority.key"
    /// The file of the key by which the host attests, in that directory.
    public var attestationKey = "/var/lib/container-vtpm/keys/attestation.key"
    /// The directory that has a lease for each container with a vTPM; it does not outlive the boot.
    public var leases = "/run/container-vtpm"
    /// The directory of the TPMs that were made ahead of need; it is in memory.
    public var pool = "/run/container-vtpm-pool"
    /// The file with the host's machine ID. machine-id(5)
    public var machineID = "/etc/machine-id"
    /// The directory with our own programs.
    public var programs: String

    /// Returns the usual paths, with our programs beside the one that is running.
    public static func current() throws(Failure) -> HostPaths {
        let path = try Procfs().link("self/exe")
        return HostPaths(programs: String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
    }

    /// Creates the same paths below another directory, with the programs elsewhere, for tests.
    public init(below root: String, programs: String) {
        self.programs = programs
        states = root + "/states"
        index = root + "/index"
        quarantine = root + "/quarantine"
        keys = root + "/keys"
        authorityKey = root + "/keys/authority.key"
        attestationKey = root + "/keys/attestation.key"
        leases = root + "/run"
        pool = root + "/pool"
        machineID = root + "/machine-id"
    }

    private init(programs: String) {
        self.programs = programs
    }

    /// Returns the path of one of our programs.
    public func program(_ name: String) -> String { "\(programs)/\(name)" }
}
