import Glibc
import Platform
import RuntimeControl
import Testing

@testable import Doctor

@Suite struct FolderTests {
    let fixture: FixtureHost

    init() throws { fixture = try FixtureHost() }

    private func put(_ change: @escaping (inout FileSystem) -> Void) {
        fixture.host.fileSystem = { (_) throws(Failure) in
            var fileSystem = FileSystem(type: 0xef53, isReadOnly: false, free: 1 << 34, freeFiles: nil)
            change(&fileSystem)
            return fileSystem
        }
    }

    @Test func statesInMemoryAreAProblem() throws {
        put { $0.type = 0x0102_1994 }
        let report = try fixture.report("state-directory")
        #expect(report.result == .problem)
        #expect(report.found.contains("a reboot makes each container a new TPM"))
    }

    @Test func leasesOnADiskAreAProblem() throws {
        put { _ in }
        #expect(try fixture.report("run-directory").found.contains("leases outlive the boot"))
    }

    @Test func withoutRoomContainersAreRefused() throws {
        put { $0.free = 65536 }
        #expect(try fixture.report("state-directory").refusesContainers)
        put { $0.freeFiles = 3 }
        #expect(try fixture.report("state-directory").found.contains("can take 3 more files"))
        put { $0.isReadOnly = true }
        #expect(try fixture.report("state-directory").found.contains("read-only"))
        put { $0.free = 8 << 20 }
        #expect(try fixture.report("state-directory").result == .note)
    }

    @Test func aDirectoryThatOthersCanWriteToIsRefused() throws {
        let path = fixture.host.paths.states
        try fixture.makeDirectory("/var/lib/container-vtpm/states")
        try #require(chmod(path, 0o777) == 0)
        let report = try fixture.report("state-directory")
        #expect(report.refusesContainers)
        #expect(report.remedy == "chown root: \(path) && chmod 0700 \(path)")
    }

    @Test func somethingElseAmongTheLeasesIsNamed() throws {
        try fixture.write("/run/container-vtpm/README", "")
        try #require(chmod(fixture.host.paths.leases, 0o700) == 0)
        let report = try fixture.report("run-directory")
        #expect(report.result == .problem)
        #expect(report.found.contains("README"))
    }

    @Test func aConfigurationWithAMistakeIsRefusedWithItsLine() throws {
        try fixture.write("/etc/container-vtpm/config.toml", "[state]\nscope = \"docker\"\n")
        let report = try fixture.report("configuration")
        #expect(report.refusesContainers)
        #expect(report.found.contains("line 2"))
    }

    @Test func aKeyThatIsMissingAlthoughThereAreStatesIsRefused() throws {
        let file = "\(fixture.folder)/master.key"
        try fixture.write("/etc/container-vtpm/config.toml", "[key]\nfile = \"\(file)\"\n")
        #expect(try fixture.report("master-key").result == .ok)
        try fixture.write("/var/lib/container-vtpm/states/web/state", "")
        try fixture.makeDirectory("/var/lib/container-vtpm/index")
        for path in [fixture.host.paths.states, fixture.host.paths.index] { try #require(chmod(path, 0o700) == 0) }
        let report = try fixture.report("master-key")
        #expect(report.refusesContainers)
        #expect(report.found.contains("the states on this host need it"))
    }

    @Test func aKeyThatOthersCanReadIsRefusedWithItsCommand() throws {
        let file = "\(fixture.folder)/master.key"
        try fixture.write("/etc/container-vtpm/config.toml", "[key]\nfile = \"\(file)\"\n")
        try fixture.write("/master.key", String(repeating: "01", count: 32), mode: 0o644)
        #expect(try fixture.report("master-key").remedy == "chmod 0600 \(file)")
    }

    @Test func aHostTPMThatIsNotThereIsRefused() throws {
        try fixture.remove("/sys/class/tpm/tpm0")
        try fixture.write("/etc/container-vtpm/config.toml", "[key]\nsource = \"host-tpm\"\n")
        let report = try fixture.report("host-tpm")
        #expect(report.refusesContainers)
        #expect(report.found.contains("this host has no TPM"))
    }
}
