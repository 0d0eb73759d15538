import Testing
import VTPMProxy

@testable import Doctor

/// The kernel's files stand still here: what is written to one shows what the kernel would be told.
@Suite struct RandomSourceTests {
    let fixture: FixtureHost
    private static let attributes = "/sys/class/misc/hw_random"

    init() throws {
        fixture = try FixtureHost()
        try fixture.makeDirectory("/sys/devices/virtual/tpm/tpm1")
    }

    private func write(current: String, available: String, quality: String? = nil) throws {
        try fixture.write("\(Self.attributes)/rng_current", "\(current)\n")
        try fixture.write("\(Self.attributes)/rng_available", "\(available)\n")
        if let quality { try fixture.write("\(Self.attributes)/rng_quality", "\(quality)\n") }
    }

    private func read(_ name: String) throws -> String? { try fixture.host.line("\(Self.attributes)/\(name)") }

    private var source: RandomSource { RandomSource(sysfs: "\(fixture.folder)/sys") }

    @Test func theHostsOwnTPMMayBeTheSource() throws {
        try write(current: "tpm-rng-0", available: "tpm-rng-0 tpm-rng-1 ")
        #expect(try fixture.report("random-source").result == .ok)
        try source.leave { _ in true }
        #expect(try read("rng_current") == "tpm-rng-0")
    }

    @Test func aRealSourceTakesTheVTPMsPlace() throws {
        try write(current: "tpm-rng-1", available: "tpm-rng-1 virtio_rng.0 none")
        let report = try fixture.report("random-source")
        #expect(report.result == .problem)
        #expect(report.remedy == "echo virtio_rng.0 >/sys/class/misc/hw_random/rng_current")
        try source.leave { $0 == 1 }
        #expect(try read("rng_current")?.hasPrefix("virtio_rng.0") ?? false)
    }

    @Test func withoutARealSourceThereIsNone() throws {
        try write(current: "tpm-rng-1", available: "tpm-rng-1 none")
        #expect(try fixture.report("random-source").remedy == "echo none >/sys/class/misc/hw_random/rng_current")
        try source.leave { _ in true }
        #expect(try read("rng_current")?.hasPrefix("none") ?? false)
    }

    @Test func onAKernelThatNeedsASourceItCountsForNothing() throws {
        try write(current: "tpm-rng-1", available: "tpm-rng-1 ", quality: "1024")
        #expect(try fixture.report("random-source").remedy == "echo 0 >/sys/class/misc/hw_random/rng_quality")
        try source.leave { _ in true }
        #expect(try read("rng_quality")?.hasPrefix("0") ?? false)
        try write(current: "tpm-rng-1", available: "tpm-rng-1 ", quality: "0")
        #expect(try fixture.report("random-source").result == .note)
    }

    @Test func aVTPMThatIsNoContainersStays() throws {
        try write(current: "tpm-rng-1", available: "tpm-rng-1 virtio_rng.0 ")
        try source.leave { _ in false }
        #expect(try read("rng_current") == "tpm-rng-1")
    }

    @Test func aSourceThatNobodyUsesIsTold() throws {
        try write(current: "none", available: "virtio_rng.0 none")
        let report = try fixture.report("random-source")
        #expect(report.result == .note)
        #expect(report.remedy == "echo virtio_rng.0 >/sys/class/misc/hw_random/rng_current")
    }
}
