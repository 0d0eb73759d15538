import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeState

/// What needs no kernel device: all sides serve a socket pair in place of the vTPM proxy's descriptor.
struct Native {
    /// On a real disk.
    let disk: Place
    /// On a tmpfs, where fsync(2) has nothing to do.
    let memory: Place
    /// On an ext4 that nothing else writes to, on a device whose flushes are counted.
    let counted: Place
    /// The directory with `memory-floor-keeper` and `memory-floor-tpm`.
    let fixtures: String
    /// Divides the number of repetitions, to try the program out.
    let scale: Int
    /// What is measured; empty for all.
    let only: Set<String>

    func run() throws(Failure) {
        for place in [disk, memory, counted] { try place.prepare() }
        let parts: [(String, () throws(Failure) -> Void)] = [
            ("round trips", roundTrips), ("writes", writes), ("starts", starts), ("launch", launch),
            ("manufacture", manufacture),
            ("flushes", flushes), ("fleet", fleet), ("index", index), ("among many", amongMany), ("idle", idle),
        ]
        for (name, part) in parts where only.isEmpty || only.contains(name) {
            Output.say(name)
            try part()
        }
    }

    /// All sides, each before each other one in turn.
    static func order(_ round: Int) -> [Side] {
        let sides: [Side] = [.ours, .swtpm, .before]
        let first = round / 2 % sides.count
        let turned = Array(sides[first...] + sides[..<first])
        return round % 2 == 0 ? turned : turned.reversed()
    }

    func rounds(_ count: Int) -> Range<Int> { 0..<max(count / scale, 2) }

    /// New processes in each round: where their pages lie is chance, and lasts as long as they.
    private func roundTrips() throws(Failure) {
        for round in rounds(24) {
            let output = Output(round: round)
            let initProcess = try FakeInit()
            var running: [(side: Side, tpm: any RunningTPM, trips: RoundTrips)] = []
            for side in Self.order(round) {
                let tpm = try side.start("trips", in: memory, for: initProcess)
                try tpm.device.completeSelfTest()
                running.append((side, tpm, try RoundTrips(on: tpm.device, scale: scale)))
            }
            for kind in 0..<running[0].trips.count {
                for (side, tpm, trips) in running {
                    try trips.measure(kind, on: tpm.device, as: side.rawValue, to: output)
                }
            }
            for (_, tpm, _) in running { try tpm.stop() }
        }
    }

    /// Waits until what came before has no part in what is measured next: the kernel takes the namespaces of a process down
    /// after its end, and the container's own process is still being loaded.
    private static func settle() { usleep(50_000) }

    private func starts() throws(Failure) {
        for round in rounds(40) {
            let output = Output(round: round)
            for (place, where_) in [(disk, "on disk"), (memory, "without fsync")] {
                for side in Self.order(round) {
                    // The first start of a round makes the state, the second finds it.
                    for state in ["new", "existing"] {
                        let initProcess = try FakeInit()
                        Self.settle()
                        let begin = now()
                        let tpm = try side.start("start-\(round)", in: place, for: initProcess)
                        let started = now()
                        try tpm.stop()
                        let stopped = now()
                        let name = "\(state) state, \(where_)"
                        output.write("start", name, side.rawValue, unit: "ms", [milliseconds(started - begin)])
                        output.write("stop", name, side.rawValue, unit: "ms", [milliseconds(stopped - started)])
                    }
                }
            }
        }
    }

    private func writes() throws(Failure) { try Writes(disk: disk, memory: memory).measure(rounds(16)) }

    private func flushes() throws(Failure) { try Flushes(place: counted).count() }

    private func fleet() throws(Failure) {
        try Fleet(memory: memory, sizes: sizes, fixtures: fixtures).measure()
    }

    private func manufacture() throws(Failure) { try Manufacture(place: disk).measure(max(20 / scale, 2)) }

    private func launch() throws(Failure) {
        let path = "Tests/LaunchTests/Fixtures/docker-1.json"
        let config = try Descriptor.open(path, .read).readAll(limit: 1 << 20, path)
        try MeasuredLaunch(place: memory, config: config).measure(rounds(40))
    }

    private func amongMany() throws(Failure) { try AmongMany(memory: memory, scale: scale).run() }

    /// The numbers of instances that are looked at; 100 is the one that bounds are for.
    private var sizes: [Int] {
        [1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 400, 500].filter { $0 <= max(500 / scale, 100) }
    }

    /// What of the growth is the index's, which is looked at twice at each start and changed at each start and stop.
    private func index() throws(Failure) {
        let path = "\(memory.directory)/index-alone"
        let index = try HostIndex(in: openOwnDirectory(path), path: path, keys: KeyRing(MasterKey(Place.secretKey())))
        for size in sizes {
            try index.rebuild(
                (0..<size).map {
                    let uuid = [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: 16)
                    return IndexEntry(stateID: "fleet-\($0)", uuid: uuid, generation: 1, bundle: memory.directory)
                }
            )
            let name = try StateDirectoryName.encoded("fleet-0")
            func times(_ body: (inout IndexTransaction) throws(Failure) -> Void) throws(Failure) -> [Double] {
                var times: [Double] = []
                for _ in 0..<max(100 / scale, 5) {
                    let begin = now()
                    try index.transact { (records) throws(Failure) in try body(&records) }
                    times.append(milliseconds(now() - begin))
                }
                return times
            }
            let output = Output(round: size)
            output.write(
                "growth",
                "index is read",
                "ours",
                unit: "ms",
                try times { (records) throws(Failure) in _ = try records.entry(name) }
            )
            let written = try times { (records) throws(Failure) in try records.update(name) { $0.generation += 1 } }
            output.write("growth", "index is read and written", "ours", unit: "ms", written)
        }
    }

    private func idle() throws(Failure) {
        let initProcess = try FakeInit()
        var fleets: [Side: [any RunningTPM]] = [:]
        let size = max(100 / scale, 5)
        for side in Fleet.sides {
            for number in 0..<size {
                fleets[side, default: []].append(try side.start("fleet-\(number)", in: memory, for: initProcess))
            }
        }
        // What a start leaves to be done is done by then.
        sleep(2)
        func times() throws(Failure) -> [Side: UInt64] {
            var times: [Side: UInt64] = [:]
            for (side, fleet) in fleets { times[side] = try Procfs.processorTime(of: fleet.flatMap { $0.processes }) }
            return times
        }
        let before = try times()
        sleep(UInt32(max(60 / scale, 2)))
        let after = try times()
        for side in Fleet.sides {
            guard before[side, default: 0] > 0 else {
                throw Failure("cannot measure processor time", because: "schedstat counts none on this kernel")
            }
            let used = milliseconds((after[side] ?? 0) - (before[side] ?? 0))
            Output(round: size).write("idle", "processor time in a minute", side.rawValue, unit: "ms", [used])
        }
        for fleet in fleets.values { for tpm in fleet { try tpm.stop() } }
    }
}
