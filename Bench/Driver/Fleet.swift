import CLinux
import Glibc
import Platform

/// Many instances at the same time: what each of them takes, and whether that grows.
struct Fleet {
    /// On a tmpfs.
    let memory: Place
    /// The numbers of instances that are looked at.
    let sizes: [Int]
    /// The directory with `memory-floor-keeper` and `memory-floor-tpm`.
    let fixtures: String

    /// The sides of which there are many.
    static let sides: [Side] = [.ours, .swtpm]
    /// The number of instances that bounds are for.
    private static let bound = 100

    func measure() throws(Failure) {
        for side in Self.sides { try measure(side) }
        try measureFloor()
    }

    private func measure(_ side: Side) throws(Failure) {
        var fleet: [any RunningTPM] = []
        for size in sizes {
            var times: [Double] = []
            while fleet.count < size {
                let initProcess = try FakeInit()
                let begin = now()
                let tpm = try side.start("fleet-\(fleet.count)", in: memory, for: initProcess)
                times.append(milliseconds(now() - begin))
                fleet.append(tpm)
            }
            for tpm in fleet.suffix(times.count) { try tpm.device.awaitSelfTest() }
            Output(round: size).write("growth", "start", side.rawValue, unit: "ms", times)
            try write(size, side.rawValue, fleet.flatMap { $0.processes })
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

    /// Two bare processes for each instance, with the libraries of a supervisor and of a worker.
    private func measureFloor() throws(Failure) {
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", "cannot make a pipe") { pipe2(&ends, O_CLOEXEC) }
        let ready = Descriptor(owning: ends[0])
        let output = Descriptor(owning: ends[1])
        let input = ready.number
        var processes: [RunningProgram] = []
        for _ in 0..<Self.bound {
            for role in ["keeper", "tpm"] {
                var launch = ProgramLaunch("\(fixtures)/memory-floor-\(role)", ["memory-floor-\(role)"])
                launch.standardOutput = output.number
                processes.append(try RunningProgram(launch))
                var byte: UInt8 = 0
                var waiting = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
                guard poll(&waiting, 1, 60_000) == 1, read(input, &byte, 1) == 1 else {
                    throw Failure("cannot measure the floor", because: "a process did not start")
                }
            }
        }
        try write(Self.bound, "floor", processes.map { $0.process })
    }

    /// Writes what so many instances take, each.
    private func write(_ size: Int, _ side: String, _ processes: [pid_t]) throws(Failure) {
        let usage = try Procfs.usage(of: processes)
        let output = Output(round: size)
        let rows = [
            ("PSS", usage.proportional, "KiB"), ("page tables", usage.pageTables, "KiB"),
            ("RSS", usage.resident, "KiB"),
            ("anonymous", usage.anonymous, "KiB"), ("descriptors", usage.descriptors, ""),
        ]
        for (name, value, unit) in rows {
            output.write("memory", name, side, unit: unit, [Double(value) / Double(size)])
        }
    }
}
