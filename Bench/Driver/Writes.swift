import Platform

/// Changes of NV, with a disk and without one.
struct Writes {
    /// On a real disk.
    let disk: Place
    /// On a tmpfs.
    let memory: Place

    private static let count = 200

    func measure(_ rounds: Range<Int>) throws(Failure) {
        let slot = try bytesOfOne()
        for round in rounds {
            for (place, group) in [(memory, "NV_Write without fsync"), (disk, "NV_Write on disk")] {
                let output = Output(round: round)
                for side in Native.order(round) {
                    let tpm = try prepared(side, in: place)
                    try RoundTrips.measureWrites(
                        Self.count,
                        on: tpm.device,
                        group: group,
                        as: side.rawValue,
                        to: output
                    )
                    try tpm.stop()
                    // Directly beside ours, since a disk is not the same at all times.
                    if side == .ours, place.directory == disk.directory {
                        try measureFloor(slot: slot, group: group, to: output)
                    }
                }
                let bare = try BareProcesses(in: place.directory, slot: slot)
                let name = "two bare processes"
                try RoundTrips.measureWrites(Self.count, on: bare.device, group: group, as: name, to: output)
                try bare.stop()
            }
        }
    }

    /// What the disk takes, alone and after the same write without it.
    ///
    /// One after the other and not added up: processors that have waited for a disk take longer to wake up.
    private func measureFloor(slot: Int, group: String, to output: Output) throws(Failure) {
        var floor = try DiskFloor("floor", in: disk.directory, slot: slot)
        try floor.measure(Self.count, group: group, as: "file alone", to: output)
        let tpm = try prepared(.ours, in: memory)
        let device = tpm.device
        try floor.measure(Self.count, group: group, as: "without fsync, then file alone", to: output) {
            () throws(Failure) in try device.run(Commands.nvWrite(now()))
        }
        try tpm.stop()
    }

    private func prepared(_ side: Side, in place: Place) throws(Failure) -> any RunningTPM {
        let tpm = try side.start("writes", in: place, for: FakeInit())
        try tpm.device.completeSelfTest()
        if try !tpm.device.succeeds(Commands.nvRead) {
            try tpm.device.run(Commands.nvDefine)
            try tpm.device.run(Commands.nvWrite(0))
        }
        return tpm
    }

    /// How many bytes our supervisor writes to its file for one change.
    private func bytesOfOne() throws(Failure) -> Int {
        let tpm = try prepared(.ours, in: memory)
        let supervisor = tpm.processes[0]
        let (start, count) = (try Procfs.written(by: supervisor), 10)
        for number in 1...count { try tpm.device.run(Commands.nvWrite(UInt64(number))) }
        let bytes = (try Procfs.written(by: supervisor) - start) / count
        try tpm.stop()
        guard bytes > 0 else { throw Failure("cannot measure a write", because: "the supervisor has written nothing") }
        return bytes
    }
}
