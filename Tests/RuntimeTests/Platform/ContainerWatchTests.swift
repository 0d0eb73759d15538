import Glibc
import Testing

@testable import Platform

/// What a container's end rests on where its init is not the first process of a PID namespace of its own.
@Suite(.serialized, .enabled(if: TestCgroup.mountPoint != nil, TestCgroup.isMissing)) struct ContainerWatchTests {
    private let cgroup: TestCgroup

    init() throws {
        cgroup = try TestCgroup()
    }

    private func watch(_ initProcess: RunningProgram, byCgroup: Bool = true) throws -> ContainerWatch {
        let reference = try ProcessHandle(initProcess.process).descriptor.duplicate()
        guard byCgroup else { return ContainerWatch(initProcess: reference, cgroupEvents: nil) }
        return ContainerWatch(initProcess: reference, cgroupEvents: try cgroup.openEvents())
    }

    /// Waits as a supervisor does.
    private func wait(for container: inout ContainerWatch) throws {
        let deadline = Deadline(milliseconds: 60_000)
        while try !container.hasEnded() {
            var set = PollSet()
            _ = container.watch(in: &set)
            try set.wait(until: min(deadline, container.nextLook ?? deadline))
            try #require(!deadline.hasPassed)
        }
    }

    @Test func `a container lives on in the children of its init`() throws {
        let initProcess = try cgroup.start("sleep infinity & sleep infinity & exec sleep infinity")
        try cgroup.awaitProcesses(3)
        var container = try watch(initProcess)
        let identity = ContainerIdentity(
            initProcess: try ProcessID(of: initProcess.process),
            cgroup: try cgroup.identity()
        )
        var hasEnded = try container.hasEnded()
        #expect(!hasEnded)
        #expect(try identity.isAlive())
        initProcess.kill()
        _ = try initProcess.wait()
        let children = try cgroup.processes()
        #expect(children.count == 2)
        hasEnded = try container.hasEnded()
        let isInitDead = container.isInitDead
        #expect(!hasEnded && isInitDead)
        kill(children[0], SIGKILL)
        try cgroup.awaitProcesses(1)
        hasEnded = try container.hasEnded()
        #expect(!hasEnded)
        #expect(try identity.isAlive())
        kill(children[1], SIGKILL)
        try wait(for: &container)
        #expect(try !identity.isAlive())
    }

    @Test func `a process in a cgroup below counts, and its end is reported`() throws {
        let initProcess = try cgroup.start("exec sleep infinity")
        let child = try cgroup.start("exec sleep infinity", below: "nested")
        var container = try watch(initProcess)
        initProcess.kill()
        _ = try initProcess.wait()
        var hasEnded = try container.hasEnded()
        #expect(!hasEnded)
        var set = PollSet()
        let index = container.watch(in: &set)
        child.kill()
        #expect(try set.wait(until: Deadline(milliseconds: 60_000)))
        #expect(set.events(at: index) & CInt(POLLPRI) != 0)
        try wait(for: &container)
        hasEnded = try container.hasEnded()
        #expect(hasEnded)
    }

    /// The kernel adds a child to the cgroup before its parent can leave it. kernel/cgroup/cgroup.c, `cgroup_post_fork`
    @Test func `processes that fork and end are never seen as an end`() throws {
        let relay = "import os\nwhile True:\n if os.fork(): os._exit(0)"
        let initProcess = try cgroup.start("exec python3 -c '\(relay)'")
        let reference = try ProcessHandle(initProcess.process).descriptor.duplicate()
        _ = try initProcess.wait()
        let events = try cgroup.openEvents()
        let identity = try cgroup.identity()
        var seen: Set<[pid_t]> = []
        for round in 0..<20_000 {
            try #require(try CgroupEvents.isPopulated(events))
            guard round % 20 == 0 else { continue }
            try #require(try identity.isPopulated())
            seen.insert(try cgroup.processes())
        }
        #expect(seen.count > 10, "nothing has forked")
        cgroup.kill()
        var container = ContainerWatch(initProcess: reference, cgroupEvents: consume events)
        try wait(for: &container)
    }

    /// A removal is not reported to who waits already; it is found at the next look.
    @Test func `a removed cgroup is an end`() throws {
        let initProcess = try cgroup.start("exec sleep infinity")
        let events = try cgroup.openEvents()
        let identity = try cgroup.identity()
        initProcess.kill()
        _ = try initProcess.wait()
        #expect(try !CgroupEvents.isPopulated(events))
        #expect(try identity.exists() && !identity.isPopulated())
        try cgroup.replace()
        #expect(try !CgroupEvents.isPopulated(events))
        #expect(try !identity.exists() && !identity.isPopulated())
        // Another cgroup of the same path says nothing of the first.
        let successor = try cgroup.start("exec sleep infinity")
        #expect(try cgroup.identity().isPopulated())
        #expect(try !identity.exists() && !identity.isPopulated())
        withExtendedLifetime(successor) {}
    }

    @Test func `without a cgroup the init's end is the container's`() throws {
        let initProcess = try cgroup.start("sleep infinity & exec sleep infinity")
        try cgroup.awaitProcesses(2)
        var container = try watch(initProcess, byCgroup: false)
        let descriptors = container.descriptors
        #expect(descriptors.count == 1)
        initProcess.kill()
        try wait(for: &container)
        let look = container.nextLook
        #expect(look == nil)
    }

    @Test func `nothing is said of a cgroup whose mount is not there`() throws {
        let own = try cgroup.identity()
        for mountPoint in ["/tmp", "/nowhere", "/proc", cgroup.path] {
            let other = CgroupIdentity(
                mountPoint: mountPoint,
                mountRoot: own.mountRoot,
                path: own.path,
                inode: own.inode
            )
            let error = #expect(throws: Failure.self) { try other.isPopulated() }
            #expect(error?.description.hasPrefix("cannot tell whether the control group \(mountPoint)/") == true)
            #expect(throws: Failure.self) { try other.exists() }
        }
    }
}

@Suite struct CgroupEventsTests {
    @Test(
        arguments: [
            ("populated 1\nfrozen 0\n", true), ("frozen 0\npopulated 0\n", false), ("populated 10\n", nil),
            ("", nil), ("frozen 1\n", nil), ("populated", nil),
        ] as [(String, Bool?)]
    )
    func `what the kernel writes is read`(text: String, isPopulated: Bool?) {
        #expect(CgroupEvents.isPopulated(Array(text.utf8)[...]) == isPopulated)
    }

    @Test func `an identity comes back as it was`() {
        let identity = CgroupIdentity(mountPoint: "/sys/fs/cgroup", mountRoot: 1, path: "a/ü", inode: 1 << 40)
        for expected in [identity, nil] {
            var writer = ByteWriter()
            CgroupIdentity.write(expected, to: &writer)
            for count in 0...writer.bytes.count {
                var reader = ByteReader(Array(writer.bytes[..<count]))
                var found: CgroupIdentity?
                let isWhole = count == writer.bytes.count
                #expect(CgroupIdentity.read(&found, from: &reader) == isWhole)
                #expect(found == (isWhole ? expected : nil) && (!isWhole || reader.remaining == 0))
            }
        }
        var reader = ByteReader([2])
        var found: CgroupIdentity?
        #expect(!CgroupIdentity.read(&found, from: &reader))
    }
}
