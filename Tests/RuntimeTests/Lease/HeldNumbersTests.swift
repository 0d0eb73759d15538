import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import Testing

/// The numbers of containers without a PID namespace of their own, which are held until the cgroup is removed.
@Suite(.serialized, .enabled(if: TestCgroup.mountPoint != nil, TestCgroup.isMissing)) struct HeldNumbersTests {
    private let temporary: TemporaryDirectory
    private let cgroup: TestCgroup

    init() throws {
        temporary = try TemporaryDirectory()
        cgroup = try TestCgroup()
    }

    private func lease(_ number: UInt32, cgroup: CgroupIdentity?) -> Lease {
        let gone = ProcessID(process: getpid(), startTime: 1)
        return Lease(
            containerID: "web",
            bundle: "/b",
            stateID: nil,
            initProcess: gone,
            cgroup: cgroup,
            supervisor: gone,
            worker: gone,
            library: nil,
            tpmNumber: number,
            tpm: "10:224",
            tpmrm: "253:65536"
        )
    }

    private func write(_ lease: Lease, _ runDirectory: borrowing Descriptor) throws {
        try OpenLease("l", temporary.directory("l")).write(lease)
        withExtendedLifetime(runDirectory.number) {}
    }

    @Test func `a number is held until the cgroup is removed, whatever becomes of lease and processes`() throws {
        let runDirectory = try temporary.directory(".")
        let lease = lease(7, cgroup: try cgroup.identity())
        try write(lease, runDirectory)
        var isRun = false
        try HeldNumbers.hold(lease, named: "l", in: runDirectory) { () throws(Failure) in isRun = true }
        #expect(isRun)
        // Nobody gets a held number, whose hold would end if that creation failed.
        let error = #expect(throws: Failure.self) {
            try HeldNumbers.hold(lease, named: "l", in: runDirectory) { () throws(Failure) in
                throw Failure("cannot go on", because: "it is a test")
            }
        }
        #expect(error?.code == EEXIST)
        try OpenLease.open("l", in: runDirectory)?.remove(from: runDirectory)
        #expect(try Leases.names(in: runDirectory) == [])
        HeldNumbers.release(in: runDirectory)
        #expect(try HeldNumbers.contain(7, in: runDirectory))
        #expect(try !HeldNumbers.contain(70, in: runDirectory) && !HeldNumbers.contain(0, in: runDirectory))
        try cgroup.replace()
        #expect(try !HeldNumbers.contain(7, in: runDirectory))
        HeldNumbers.release(in: runDirectory)
        #expect(try entries(of: runDirectory, "") == [])
    }

    @Test func `a creation that fails holds no number`() throws {
        let runDirectory = try temporary.directory(".")
        let lease = lease(7, cgroup: try cgroup.identity())
        try write(lease, runDirectory)
        let error = #expect(throws: Failure.self) {
            try HeldNumbers.hold(lease, named: "l", in: runDirectory) { () throws(Failure) in
                throw Failure("cannot go on", because: "it is a test")
            }
        }
        #expect(error?.what == "cannot go on")
        #expect(try !HeldNumbers.contain(7, in: runDirectory))
    }

    @Test func `a container that ends with its init holds no number`() throws {
        let runDirectory = try temporary.directory(".")
        let lease = lease(7, cgroup: nil)
        try write(lease, runDirectory)
        try HeldNumbers.hold(lease, named: "l", in: runDirectory) { () throws(Failure) in }
        #expect(try !HeldNumbers.contain(7, in: runDirectory))
    }

    @Test func `what cannot be read holds its number`() throws {
        let runDirectory = try temporary.directory(".")
        try temporary.write(".number-7-1", Array("{".utf8))
        HeldNumbers.release(in: runDirectory)
        #expect(try HeldNumbers.contain(7, in: runDirectory))
    }
}
