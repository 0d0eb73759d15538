import CLinux
import Configuration
import Crypto
import Foundation
import Glibc
import Platform
import RuntimeControl
import RuntimeHostTPM
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

@testable import RuntimePool

/// TPMs that are made ahead of need: who gets them, and who does not.
@Suite struct TPMPoolTests {
    let under: PoolUnderTest

    init() throws { under = try PoolUnderTest() }

    @Test func whatIsClaimedIsGone() throws {
        #expect(try under.claim() == nil)
        try under.add(["one", "two"])
        #expect(try under.pool.count(under.demandOfHost) == 2)
        let first = try #require(try under.claim()), second = try #require(try under.claim())
        #expect(Set([first, second]) == ["one", "two"])
        #expect(try under.claim() == nil && under.files == [])
    }

    // MARK: - Races

    /// 50 processes, which begin at the same moment.
    @Test func eachTPMGoesToOneOfFiftyProcesses() throws {
        let states = (0..<30).map { "state-\($0 + 10)" }
        try under.add(states)
        let claimers = try Claimers(50, of: under, each: 1)
        claimers.begin()
        let claimed = try claimers.awaitClaims()
        // No TPM twice, none lost.
        #expect(claimed.sorted() == states.sorted())
        #expect(under.files == [])
    }

    /// What a killed process has claimed is lost, and is nobody else's.
    @Test func aKilledClaimerLeavesNothingToClaimTwice() throws {
        let states = (0..<60).map { "state-\($0 + 10)" }
        try under.add(states)
        let claimers = try Claimers(20, of: under, each: 3)
        claimers.begin()
        for number in stride(from: 0, to: 20, by: 2) { claimers.kill(number) }
        let claimed = try claimers.awaitClaims()
        var rest: [String] = []
        while let state = try under.claim() { rest.append(state) }
        #expect(Set(claimed + rest).count == claimed.count + rest.count)
        #expect(Set(claimed + rest).isSubset(of: states) && under.files == [])
        // One that was killed has lost one TPM at most.
        #expect(claimed.count + rest.count >= 50)
    }

    /// Processes that wait for their beginning.
    private final class Claimers {
        private var running: [RunningProgram] = []
        private var starting: [CInt] = [-1, -1]
        private let outputs: [String]

        init(_ count: Int, of under: PoolUnderTest, each claims: Int) throws {
            try #require(pipe2(&starting, O_CLOEXEC) == 0)
            let program = VTPMUnderTest.built("PoolClaimer")
            outputs = (0..<count).map { "\(under.temporary.path)/claimer-\($0)" }
            for output in outputs {
                var launch = ProgramLaunch(
                    "/bin/sh",
                    [
                        "sh", "-c",
                        "exec '\(program)' '\(under.temporary.path)' '\(under.paths.pool)' \(claims) <&3 >'\(output)'",
                    ]
                )
                launch.passed = [starting[0]]
                running.append(try RunningProgram(launch))
            }
        }

        deinit { for end in starting where end >= 0 { close(end) } }

        func begin() {
            for number in 0..<2 {
                close(starting[number])
                starting[number] = -1
            }
        }

        func kill(_ number: Int) { running[number].kill() }

        func awaitClaims() throws -> [String] {
            for program in running { _ = try program.wait() }
            return try outputs.flatMap { path -> [String] in
                // One that was killed at once has none.
                guard access(path, F_OK) == 0 else { return [] }
                return String(decoding: try Descriptor.open(path, .read).readAll(limit: 1 << 16, path), as: UTF8.self)
                    .split(separator: "\n").map(String.init)
            }
        }
    }

    // MARK: - What nobody gets

    /// The pool of a host's copy, and what the configuration or the keys no longer fit.
    @Test(arguments: ["machine", "tpm", "master key", "keys", "banks"]) func whatDoesNotFitIsNotClaimed(
        what: String
    ) throws {
        let (demand, objection) =
            switch what {
            case "machine":
                (try under.demand(machineID: String(repeating: "f", count: 32)), TPMPool.Objection.anotherHost)
            case "tpm": (try under.demand(hostTPM: [1]), .anotherHost)
            case "master key": (try under.demand(masters: [2]), .anotherMasterKey)
            case "keys": (try under.demand(provision: TPMProvision(keys: [])), .anotherProvision)
            default: (try under.demand(provision: TPMProvision(keys: .standard, banks: .sha256)), .anotherProvision)
            }
        try under.add(["one", "two"])
        let file = try PoolFile(parsing: bytes(of: under.files[0]), "")
        #expect(demand.objection(to: file) == objection)
        #expect(try under.pool.count { () throws(Failure) in demand } == 0)
        #expect(try under.claim(demand) == nil)
        // What a copy of the host has found is gone, also for the host that made it; another configuration takes away nothing.
        #expect(under.files.count == (objection == .anotherProvision ? 2 : 0))
        #expect(try (under.claim() != nil) == (objection == .anotherProvision))
    }

    @Test func duringARotationBothKeysOpen() throws {
        try under.add(["one"])
        #expect(try under.claim(under.demand(masters: [2, 1])) == "one")
    }

    /// Each byte of a file that was changed.
    @Test func aChangedFileIsNobodysTPM() throws {
        try under.add(["one"])
        let name = under.files[0], path = "\(under.paths.pool)/\(name)"
        let whole = try bytes(of: name)
        for position in stride(from: 0, to: whole.count, by: 3) {
            var changed = whole
            changed[position] ^= 1
            try write(changed, path)
            #expect(try under.claim() == nil, "byte \(position)")
        }
        // Also by somebody who computes the check anew.
        for position in [20, 50, 80, 110, 120, whole.count - 40] {
            var changed = whole
            changed[position] ^= 1
            let checked = try changed.dropLast(32) + SHA256.digest(Array(changed.dropLast(32)))
            try write(Array(checked), path)
            #expect(try under.claim() == nil, "byte \(position)")
        }
        try write(whole, path)
        #expect(try under.claim() == "one")
    }

    /// Somebody who writes another host, other keys or another libtpms into it cannot have it opened.
    @Test(arguments: ["host", "keys", "banks", "library"]) func whatItSaysIsAuthenticated(field: String) throws {
        try under.add(["one"])
        var changed = try bytes(of: under.files[0])
        // After magic, version and size: key ID (16), salt (32), host (32), keys (2), banks (1), library (4).
        let offset = ["host": 14 + 48, "keys": 14 + 81, "banks": 14 + 82, "library": 14 + 86][field] ?? 0
        changed[offset] ^= 1
        changed = try changed.dropLast(32) + SHA256.digest(Array(changed.dropLast(32)))
        let file = try PoolFile(parsing: changed, "cannot use it")
        let refusal = #expect(throws: Failure.self) { _ = try file.open(MasterKey(secret(1)), "cannot use it") }
        #expect(refusal?.why == "it was changed")
        try write(changed, "\(under.paths.pool)/\(under.files[0])")
        #expect(try under.claim(under.demand(provision: file.provision)) == nil)
    }

    @Test func nothingElseInItsPlaceIsFollowedOrWaitedFor() throws {
        try under.add(["one"])
        let place = under.paths.pool
        // Names that files of ours could have.
        let names = ["a", "b", "c", "d"].map { String(repeating: $0, count: 32) }
        try #require(mkfifo("\(place)/\(names[0])", 0o600) == 0)
        try #require(symlink(under.files[0], "\(place)/\(names[1])") == 0)
        try #require(mkdir("\(place)/\(names[2])", 0o700) == 0)
        try write([1, 2, 3], "\(place)/\(names[3])")
        #expect(try under.pool.count(under.demandOfHost) == 1)
        #expect(try PoolFilling(under.pool).count() == 5)
        #expect(try under.claim() == "one")
        #expect(try PoolFilling(under.pool).tidy(under.demand(), to: 9) == 0)
        // A directory is nobody's TPM, and in nobody's way.
        #expect(under.files == [names[2]])
        #expect(try under.pool.clear() == 0)
    }

    // MARK: - Filling

    @Test func fillingKeepsWhatIsOfUseAlone() throws {
        try under.add(["one", "two", "three"])
        try under.add(["other"], as: under.demand(machineID: String(repeating: "f", count: 32)))
        try under.add(["older"], library: LibraryVersion(0, 9, 1))
        try under.add(["locked"], as: under.demand(masters: [2]))
        try write([1, 2, 3], "\(under.paths.pool)/.new-0123")
        try write([1, 2, 3], "\(under.paths.pool)/stranger")
        do {
            let filling = try PoolFilling(under.pool)
            // Whoever comes meanwhile is refused.
            let refusal = #expect(throws: Failure.self) { _ = try PoolFilling(under.pool) }
            #expect(refusal?.code == EWOULDBLOCK && refusal?.why == "another process does")
            // Without master keys, by which one a TPM is encrypted does not matter.
            let host = try under.demand()
            #expect(try filling.tidy(TPMPool.Demand(of: host.host, .standard), to: 9) == 5)
            #expect(try filling.tidy(host, to: 9) == 4)
            #expect(try filling.tidy(host, to: 9, library: under.library) == 3)
            #expect(try filling.tidy(host, to: 2, library: under.library) == 2)
        }
        #expect(under.files.filter { $0.count == 32 }.count == 2 && under.files.contains("stranger"))
        #expect(!under.files.contains(".new-0123"))
        #expect(try under.pool.clear() == 2)
        #expect(try under.pool.clear() == 0)
    }

    /// On a disk, a name that was removed could come back.
    @Test func itMustBeInMemory() throws {
        var paths = under.paths
        paths.pool = "\(under.temporary.path)/pool"
        let refusal = #expect(throws: Failure.self) { _ = try PoolFilling(TPMPool(paths)) }
        #expect(refusal?.why == "it is not in memory: a TPM that was claimed could come back after a power failure")
    }

    // MARK: - The host

    @Test func aHostNeedsAMachineID() throws {
        for text in [
            "", "uninitialized\n", "\(PoolUnderTest.machineID)0\n", "g\(PoolUnderTest.machineID.dropFirst())\n",
        ] {
            try under.temporary.write("machine-id", Array(text.utf8))
            let refusal = #expect(throws: Failure.self) { try HostBinding(of: under.paths, .init()) }
            #expect(refusal?.why.hasSuffix("has no machine ID in it") == true)
        }
        unlink(under.paths.machineID)
        let refusal = #expect(throws: Failure.self) { try HostBinding(of: under.paths, .init()) }
        #expect(refusal?.why.hasPrefix("there is no machine ID") == true)
    }

    // MARK: -

    private func bytes(of name: String) throws -> [UInt8] {
        try Descriptor.open("\(under.paths.pool)/\(name)", .read).readAll(limit: 1 << 20, name)
    }

    private func write(_ bytes: [UInt8], _ path: String) throws {
        try Descriptor.open(path, OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)).writeAll(bytes, path)
    }
}
