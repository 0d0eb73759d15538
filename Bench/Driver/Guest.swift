import Glibc
import Platform

/// What the script in the guest has measured, beside what it measures itself.
enum Guest {
    /// Round trips over device files: arguments such as `ours=/dev/tpmrm0`.
    static func devices(_ arguments: [String], rounds: Int) throws(Failure) {
        var devices: [(side: String, device: Device)] = []
        for argument in arguments {
            let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { throw Failure("cannot measure", because: "\"\(argument)\" is no SIDE=PATH") }
            devices.append((parts[0], Device(owning: try Descriptor.open(parts[1], OpenOptions(O_RDWR)))))
        }
        var trips: [RoundTrips] = []
        // The guest's processor is emulated, and many times slower.
        for (_, device) in devices { trips.append(try RoundTrips(on: device, scale: 20, keepsKeys: true)) }
        let count = trips.first?.count ?? 0
        for round in 0..<rounds {
            let order = round % 2 == 0 ? Array(devices.indices) : devices.indices.reversed()
            for kind in 0..<count {
                for index in order {
                    try trips[index].measure(
                        kind,
                        on: devices[index].device,
                        group: "round trip over /dev/tpmrm0",
                        as: devices[index].side,
                        to: Output(round: round)
                    )
                }
            }
        }
    }

    /// Memory of so many instances, which the processes make up.
    static func memory(_ side: String, _ size: Int, _ processes: [pid_t]) throws(Failure) {
        let usage = try Procfs.usage(of: processes)
        let output = Output(round: size)
        for (name, value) in [("PSS", usage.proportional), ("anonymous", usage.anonymous)] {
            output.write("memory in the guest", name, side, unit: "KiB", [Double(value) / Double(size)])
        }
    }
}
