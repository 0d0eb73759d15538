import CLinux
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeLease
import RuntimeState

/// What a start, a stop, a list and a look for orphans cost on a host with many states, beside one with few.
struct AmongMany {
    /// Where both hosts are, on a tmpfs.
    let memory: Place
    /// Divides the number of states and of repetitions, to try the program out.
    let scale: Int

    private static let few = 10
    private var many: Int { max(100_000 / scale, 1000) }
    private var orphans: Int { max(50_000 / scale, 500) }

    func run() throws(Failure) {
        let hosts = [("few", try host("few", Self.few)), ("many", try host("many", many))]
        for round in 0..<max(30 / scale, 3) {
            for (name, place) in round % 2 == 0 ? hosts : hosts.reversed() { try measure(place, name, round) }
        }
        try prune()
    }

    /// A host whose index knows so many states.
    private func host(_ name: String, _ size: Int) throws(Failure) -> Place {
        let place = Place(programs: memory.programs, directory: "\(memory.directory)/among-\(name)")
        try place.prepare()
        try repository(place).index.rebuild((0..<size).map { Self.entry($0) })
        return place
    }

    private static func entry(_ number: Int) -> IndexEntry {
        let uuid = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 16)
        return IndexEntry(stateID: "state-\(number)", uuid: uuid, generation: 1, lastUse: 1, bundle: "/b/\(number)")
    }

    private func repository(_ place: Place) throws(Failure) -> StateRepository {
        let keys = KeyRing(try MasterKey(Place.secretKey()))
        let (index, states) = ("\(place.directory)/index", "\(place.directory)/states")
        return StateRepository(
            in: try openOwnDirectory(states),
            path: states,
            keys: keys,
            index: try HostIndex(in: openOwnDirectory(index), path: index, keys: keys)
        )
    }

    private func measure(_ place: Place, _ name: String, _ round: Int) throws(Failure) {
        let output = Output(round: round)
        // A new state, and then the same one again.
        for state in ["new", "existing"] {
            let initProcess = try FakeInit()
            let begin = now()
            let tpm = try Side.ours.start("among-\(round)", in: place, for: initProcess)
            let started = now()
            let usage = try Procfs.usage(of: tpm.processes)
            let listing = try list("among-\(round)", place, initProcess, tpm.processes)
            let stopping = now()
            try tpm.stop()
            let stopped = now()
            output.write("among many", "start, \(state) state", name, unit: "ms", [milliseconds(started - begin)])
            output.write("among many", "stop, \(state) state", name, unit: "ms", [milliseconds(stopped - stopping)])
            output.write("among many", "list, \(state) state", name, unit: "ms", [listing])
            output.write("among many", "PSS, \(state) state", name, unit: "KiB", [Double(usage.proportional)])
        }
    }

    /// How long `vtpmctl list` takes, in milliseconds, in a mount namespace where this host is at the usual places.
    private func list(
        _ name: String,
        _ place: Place,
        _ initProcess: FakeInit,
        _ processes: [pid_t]
    ) throws(Failure) -> Double {
        let run = try Descriptor.open("\(place.directory)/run", .directory)
        guard let lease = try OpenLease.open(name, in: run) else {
            throw Failure("cannot measure a list", because: "the vTPM has no lease")
        }
        try lease.write(
            Lease(
                containerID: name,
                bundle: place.directory,
                stateID: name,
                initProcess: initProcess.identity,
                supervisor: ProcessID(of: processes[0]),
                worker: ProcessID(of: processes[1]),
                library: nil,
                tpmNumber: 0,
                tpm: "10:224",
                tpmrm: "254:65536"
            )
        )
        let script = """
            mount -t tmpfs bench /run
            mount -t tmpfs bench /var/lib
            mkdir /run/container-vtpm /var/lib/container-vtpm
            mount --bind '\(place.directory)/run' /run/container-vtpm
            mount --bind '\(place.directory)' /var/lib/container-vtpm
            '\(place.programs)/vtpmctl' list | grep --quiet '^\(name) .* serving'
            """
        let begin = now()
        let shell = try RunningProgram(
            ProgramLaunch("/usr/bin/unshare", ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script])
        )
        guard try shell.wait() == .exited(0) else {
            throw Failure("cannot measure a list", because: "vtpmctl list does not show the vTPM")
        }
        return milliseconds(now() - begin)
    }

    /// A dry run over states that nobody needs, in a process of its own size: what it takes in memory is its peak.
    private func prune() throws(Failure) {
        let place = try host("orphans", orphans)
        let repository = try repository(place)
        for number in 0..<orphans {
            let state = try openOwnDirectory("\(place.directory)/states/state-\(number)")
            // One without a file would be lost, and is nobody's to remove. What is in it is not looked at.
            _ = try Descriptor.open("state", OpenOptions(O_WRONLY | O_CREAT, mode: 0o600), at: state.number)
        }
        let containers = ContainerInventory(root: "/nonexistent") { _ in nil }
        let before = try peak()
        let begin = now()
        var found = 0
        try Pruning(repository, containers, now: UInt64(clamping: Glibc.time(nil))).each(
            Pruning.Criteria(unusedFor: 86_400, orphansOnly: true)
        ) { (_) throws(Failure) in found += 1 }
        guard found == orphans else {
            throw Failure("cannot measure a dry run", because: "it found \(found) orphans of \(orphans)")
        }
        let after = try peak()
        let output = Output(round: orphans)
        output.write("among many", "prune --dry-run", "ours", unit: "ms", [milliseconds(now() - begin)])
        output.write("among many", "prune --dry-run, memory", "ours", unit: "KiB", [Double(after - before)])
    }

    /// The most memory that this process has had, in KiB. proc_pid_status(5), VmHWM
    private func peak() throws(Failure) -> Int {
        var usage = rusage()
        try systemCall("getrusage", "cannot measure memory") { getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) }
        return usage.ru_maxrss
    }
}
