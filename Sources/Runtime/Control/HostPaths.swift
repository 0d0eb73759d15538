import Glibc
import Platform

/// Where things are on a host.
public struct HostPaths: Sendable {
    /// A directory for each state.
    public var states = "/var/lib/container-vtpm/states"
    /// The directory of the host's index.
    public var index = "/var/lib/container-vtpm/index"
    /// The directory of states that were put aside.
    public var quarantine = "/var/lib/container-vtpm/quarantine"
    /// The directory of master keys.
    public var keys = "/var/lib/container-vtpm/keys"
    /// A directory for each container that has a vTPM; it does not outlive the boot.
    public var leases = "/run/container-vtpm"
    /// The directory with our own programs.
    public var programs: String

    /// The usual places, with our programs beside the one that is running.
    public static func current() throws(Failure) -> HostPaths {
        let path = try Procfs().link("self/exe")
        return HostPaths(programs: String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
    }

    /// The same below another directory and with programs elsewhere, for tests.
    public init(below root: String, programs: String) {
        self.programs = programs
        states = root + "/states"
        index = root + "/index"
        quarantine = root + "/quarantine"
        keys = root + "/keys"
        leases = root + "/run"
    }

    private init(programs: String) {
        self.programs = programs
    }

    /// The path of one of our programs.
    public func program(_ name: String) -> String { "\(programs)/\(name)" }
}
