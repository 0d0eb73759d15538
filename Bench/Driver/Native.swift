import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeState

/// What needs no kernel device: both sides serve a socket pair in place of the vTPM proxy's descriptor.
struct Native {
    /// On a real disk.
    let disk: Place
    /// On a tmpfs, where fsync(2) has nothing to do.
    let memory: Place
    /// Divides the number of repetitions, to try the program out.
    let scale: Int
    /// What is measured; empty for all.
    let only: Set<String>

    func run() throws(Failure) {
        try disk.prepare()
        try memory.prepare()
        let parts: [(String, () throws(Failure) -> Void)] = [
            ("round trips", roundTrips), ("writes", writes), ("starts", starts), ("manufacture", manufacture),
            ("fleet", fleet), ("index", index), ("among many", amongMany), ("idle", idle),
        ]
        for (name, part) in parts where only.isEmpty || only.contains(name) {
            Output.say(name)
            try part()
        }
    }

    /// Both sides, each before the other in turn.
    static func order(_ round: Int) -> [Side] { round % 2 == 0 ? [.ours, .swtpm] : [.swtpm, .ours] }

    private func rounds(_ count: Int) -> Range<Int> { 0..<max(count / scale, 2) }

    /// New processes in each round: where their pages lie is chance, and lasts as long as they.
    private func roundTrips() throws(Failure) {
        for round in rounds(24) {
            let output = Output(round: round)
            let initProcess = try FakeInit()
            let ours = try Side.ours.start("trips", in: memory, for: initProcess)
            let swtpm = try Side.swtpm.start("trips", in: memory, for: initProcess)
            let sides: [(Side, any RunningTPM)] = Self.order(round).map { $0 == .ours ? ($0, ours) : ($0, swtpm) }
            var trips: [Side: RoundTrips] = [:]
            for (side, tpm) in sides {
                trips[side] = try RoundTrips(on: tpm.device, scale: scale)
            }
            for kind in 0..<(trips[.ours]?.count ?? 0) {
                for (side, tpm) in sides {
                    try trips[side]?.measure(kind, on: tpm.device, as: side.rawValue, to: output)
                }
            }
            try ours.stop()
            try swtpm.stop()
        }
    }

    private func writes() throws(Failure) {
        for round in rounds(16) {
            for (place, group) in [(memory, "NV_Write without fsync"), (disk, "NV_Write on disk")] {
                let output = Output(round: round)
                let initProcess = try FakeInit()
                func measure(_ side: Side) throws(Failure) {
                    let tpm = try side.start("writes", in: place, for: initProcess)
                    if round == 0 { try tpm.device.run(Commands.nvDefine) }
                    try RoundTrips.measureWrites(200, on: tpm.device, group: group, as: side.rawValue, to: output)
                    try tpm.stop()
                }
                func measureBare() throws(Failure) {
                    let bare = try BareProcesses(in: place.directory)
                    let name = "two bare processes"
                    try RoundTrips.measureWrites(200, on: bare.device, group: group, as: name, to: output)
                    try bare.stop()
                }
                // Each before the others in turn.
                if round % 3 == 1 { try measureBare() }
                let sides = Self.order(round)
                try measure(sides[0])
                if round % 3 == 2 { try measureBare() }
                try measure(sides[1])
                if round % 3 == 0 { try measureBare() }
                try DiskFloor(directory: place.directory).measure(200, group: group, to: output)
            }
        }
    }

    private func starts() throws(Failure) {
        for round in rounds(40) {
            let output = Output(round: round)
            for (place, where_) in [(disk, "on disk"), (memory, "without fsync")] {
                for side in Self.order(round) {
                    // The first start of a round makes the state, the second finds it.
                    for state in ["new", "existing"] {
                        let initProcess = try FakeInit()
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
        let initProcess = try FakeInit()
        let tpm = try Side.ours.start("provisioned", in: memory, for: initProcess)
        let isProvisioned = try tpm.device.succeeds(Commands.readPublic(Commands.endorsementKey))
        Output(round: 0).write("fact", "ours has an EK", "ours", unit: "", [isProvisioned ? 1 : 0])
        try tpm.stop()
    }

    private func manufacture() throws(Failure) { try Manufacture(place: disk).measure(max(10 / scale, 2)) }

    private func amongMany() throws(Failure) { try AmongMany(memory: memory, scale: scale).run() }

    /// Sizes of a fleet at which its memory is looked at.
    private static let sizes = [1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 400, 500]

    private func fleet() throws(Failure) {
        for side in Side.allCases {
            var fleet: [any RunningTPM] = []
            for size in Self.sizes where size <= max(500 / scale, 10) {
                var times: [Double] = []
                while fleet.count < size {
                    let initProcess = try FakeInit()
                    let begin = now()
                    fleet.append(try side.start("fleet-\(fleet.count)", in: memory, for: initProcess))
                    times.append(milliseconds(now() - begin))
                }
                let output = Output(round: size)
                output.write("growth", "start", side.rawValue, unit: "ms", times)
                let usage = try Procfs.usage(of: fleet.flatMap { $0.processes })
                func write(_ name: String, _ value: Int, _ unit: String) {
                    output.write("memory", name, side.rawValue, unit: unit, [Double(value) / Double(size)])
                }
                write("PSS", usage.proportional, "KiB")
                write("RSS", usage.resident, "KiB")
                write("anonymous", usage.anonymous, "KiB")
                write("page tables", usage.pageTables, "KiB")
                write("descriptors", usage.descriptors, "")
            }
            // One after the other, so that what is left gets fewer; the first ones tell what one takes among all.
            let size = fleet.count
            var times: [Double] = []
            for tpm in fleet {
                let begin = now()
                try tpm.stop()
                times.append(milliseconds(now() - begin))
            }
            Output(round: size).write("growth", "stop", side.rawValue, unit: "ms", Array(times.prefix(size / 10)))
        }
    }

    /// What of the growth is the index's, which is looked at twice at each start and changed at each start and stop.
    private func index() throws(Failure) {
        let path = "\(memory.directory)/index-alone"
        let key = try SecretBytes(capacity: Place.key.count)
        _ = key.append(copying: Place.key)
        let index = try HostIndex(in: openOwnDirectory(path), path: path, keys: KeyRing(MasterKey(key)))
        for size in Self.sizes where size <= max(500 / scale, 10) {
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
        for side in Side.allCases {
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
        for side in Side.allCases {
            guard before[side, default: 0] > 0 else {
                throw Failure("cannot measure processor time", because: "schedstat counts none on this kernel")
            }
            let used = milliseconds((after[side] ?? 0) - (before[side] ?? 0))
            Output(round: size).write("idle", "processor time in a minute", side.rawValue, unit: "ms", [used])
        }
        for fleet in fleets.values { for tpm in fleet { try tpm.stop() } }
    }
}
