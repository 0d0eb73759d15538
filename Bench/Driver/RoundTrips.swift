import Glibc
import Platform

/// Time from a command's `write` to its answer's `read`.
struct RoundTrips {
    /// A command with the number of times that it is measured in a row.
    struct Kind {
        let name: String
        let count: Int
        let command: (UInt64) -> [UInt8]
    }

    private let kinds: [Kind]

    /// Prepares a TPM: an NV index and two keys.
    ///
    /// Behind the kernel's resource manager the keys have to be persistent ones: others it loads before each command, and
    /// saves after it, and that is what would be measured.
    init(on device: Device, scale: Int, keepsKeys: Bool = false) throws(Failure) {
        if try !device.succeeds(Commands.nvRead) {
            try device.run(Commands.nvDefine)
            try device.run(Commands.nvWrite(0))
        }
        var ecc = try Self.handle(device.run(Commands.createECCKey))
        var rsa = try Self.handle(device.run(Commands.createRSAKey))
        if keepsKeys {
            ecc = try Self.keep(ecc, as: 0x8100_1001, on: device)
            rsa = try Self.keep(rsa, as: 0x8100_1002, on: device)
        }
        func kind(_ name: String, _ count: Int, _ command: [UInt8]) -> Kind {
            Kind(name: name, count: max(count / scale, 5)) { _ in command }
        }
        kinds = [
            kind("GetRandom", 2000, Commands.getRandom),
            kind("PCR_Extend", 2000, Commands.pcrExtend),
            kind("PCR_Read", 2000, Commands.pcrRead),
            kind("NV_Read", 2000, Commands.nvRead),
            kind("Sign, ECDSA P-256", 400, Commands.signECDSA(ecc)),
            kind("Sign, RSASSA 2048", 200, Commands.signRSASSA(rsa)),
        ]
    }

    private static func keep(_ key: UInt32, as handle: UInt32, on device: Device) throws(Failure) -> UInt32 {
        try device.run(Commands.keep(key, as: handle))
        try device.run(Commands.flush(key))
        return handle
    }

    private static func handle(_ answer: [UInt8]) -> UInt32 {
        answer[10..<14].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// How many kinds there are.
    var count: Int { kinds.count }

    /// Measures one kind and writes what it took.
    func measure(
        _ index: Int,
        on device: Device,
        group: String = "round trip",
        as side: String,
        to output: Output
    ) throws(Failure) {
        try Self.measure(kinds[index], on: device, group: group, as: side, to: output)
    }

    /// Measures NV_Write, in a group of its own.
    static func measureWrites(
        _ count: Int,
        on device: Device,
        group: String,
        as side: String,
        to output: Output
    ) throws(Failure) {
        let start = now()
        let kind = Kind(name: "NV_Write", count: count) { Commands.nvWrite(start + $0) }
        try measure(kind, on: device, group: group, as: side, to: output)
    }

    private static func measure(
        _ kind: Kind,
        on device: Device,
        group: String,
        as side: String,
        to output: Output
    ) throws(Failure) {
        var values: [Double] = []
        values.reserveCapacity(kind.count)
        // The first ones find caches cold that the other side has filled.
        let warmUp = kind.count / 10
        for round in 0..<kind.count + warmUp {
            let time = try device.time(kind.command(UInt64(round)))
            if round >= warmUp { values.append(microseconds(time)) }
        }
        output.write(group, kind.name, side, unit: "us", values)
    }
}
