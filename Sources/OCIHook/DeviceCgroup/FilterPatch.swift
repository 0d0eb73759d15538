import CLinux
import Glibc
import Platform
import VTPMProxy

/// Extends the device filters of one cgroup by a rule.
///
/// At no moment is a filter missing that was there, and none is attached where there was none: a cgroup without a
/// filter denies nothing.
struct FilterPatch<Kernel: FilterKernel> {
    let kernel: Kernel
    /// The devices to be allowed.
    let devices: [DeviceNumber]

    /// How often a program may be changed by somebody else while it is being replaced.
    private let mostRaces = 20

    /// Extends every filter of the cgroup that does not allow the devices yet.
    ///
    /// Returns the filters that deny and could not be extended, each with the reason. It is not for this function to
    /// say whether that matters.
    func apply(to group: CInt) throws(Failure) -> [Obstacle] {
        var races = 0
        var obstacles: [UInt32: Failure] = [:]
        restart: while true {
            let attached = try kernel.filters(of: group)
            for program in attached.programs where obstacles[program] == nil {
                do {
                    try extend(program, of: group, attached.flags)
                } catch let error where error.code == ENOENT && races < mostRaces {
                    // The program is no longer attached here: somebody replaced it at the same time.
                    races += 1
                    continue restart
                } catch {
                    // ENOENT for good: a bpf_link holds the program, and BPF_F_REPLACE finds only what has none.
                    obstacles[program] = error
                }
            }
            let programs = obstacles.keys.sorted()
            return programs.compactMap { id in obstacles[id].map { Obstacle(program: id, reason: $0) } }
        }
    }

    private func extend(_ program: UInt32, of group: CInt, _ flags: UInt32) throws(Failure) {
        let old = try kernel.open(program)
        let dumped = try kernel.instructions(of: old)
        guard !allowsAll(dumped) else { return }
        let new = try kernel.load(DeviceFilter(dumped: dumped).allowing(devices))
        guard flags & BPF_F_ALLOW_MULTI != 0 else {
            // Without BPF_F_ALLOW_MULTI there is one program, and attaching puts the new one in its place.
            try kernel.attach(new.number, to: group, flags: flags, replacing: nil)
            return
        }
        try kernel.attach(new.number, to: group, flags: flags, replacing: old.number)
    }

    /// Whether a program is known to allow all the devices.
    func allowsAll(_ instructions: [Instruction]) -> Bool {
        devices.allSatisfy { FilterInterpreter.verdict(of: instructions, on: .use(of: $0)) == true }
    }
}

/// A filter that could not be extended.
struct Obstacle: Equatable, Sendable {
    /// The program's ID, as `bpftool prog` shows it.
    var program: UInt32
    /// What kept it from being extended.
    var reason: Failure
}
