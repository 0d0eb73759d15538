import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import Testing

@testable import OCIHook

/// What needs no kernel with vTPMs; the rest is in a guest case.
@Suite struct GrantTests {
    let folder: ScratchFolder
    let hostPaths: HostPaths

    init() throws {
        folder = try ScratchFolder()
        hostPaths = HostPaths(below: folder.path, programs: "/nowhere")
        try folder.write("run/.made", "")
    }

    private func answers(_ verb: GrantVerb, _ leases: String...) throws -> [GrantAnswer] {
        var answers: [GrantAnswer] = []
        try verb.run(leases, on: hostPaths) { (answer) throws(Failure) in answers.append(answer) }
        return answers
    }

    /// Makes the lease of a container with this init; returns its name.
    private func makeLease(init process: ProcessID, tpm: String = "253:1") throws -> String {
        let name = try Lease.name(containerID: "web", bundle: folder.path)
        try folder.write("run/\(name)/.made", "")
        let lease = Lease(
            containerID: "web",
            bundle: folder.path,
            stateID: nil,
            initProcess: process,
            supervisor: process,
            worker: process,
            library: nil,
            tpmNumber: 1,
            tpm: tpm,
            tpmrm: "253:65537"
        )
        switch try OpenLease.open(name, in: .open(hostPaths.leases, .directory)) {
        case .none: Issue.record("the lease is not there")
        case .some(let opened): try opened.write(lease)
        }
        return name
    }

    private func expectFailure(_ verb: GrantVerb, _ name: String, _ why: String) throws {
        guard case .failed(let reason)? = try answers(verb, name).first?.verdict else {
            Issue.record("\(verb) did not fail")
            return
        }
        #expect(reason.contains(why), "\(reason)")
    }

    @Test(arguments: GrantVerb.allCases) func `no lease is no question`(verb: GrantVerb) throws {
        #expect(try answers(verb).isEmpty)
    }

    @Test(arguments: ["", "..", "web", "../../etc", String(repeating: "F", count: 32)])
    func `what is no name of a lease is not looked for`(name: String) throws {
        try expectFailure(.grant, name, "that is no name of a lease")
    }

    @Test(arguments: GrantVerb.allCases) func `each lease is answered for`(verb: GrantVerb) throws {
        let names = [String(repeating: "0", count: 32), String(repeating: "1", count: 32)]
        let answers = try answers(verb, names[0], names[1])
        #expect(answers.map { $0.lease } == names)
        for name in names { try expectFailure(verb, name, "there is none") }
    }

    @Test(arguments: GrantVerb.allCases) func `a process with the init's ID is not the init`(verb: GrantVerb) throws {
        let other = ProcessID(process: getpid(), startTime: try ProcessID(of: getpid()).startTime + 1)
        try expectFailure(verb, try makeLease(init: other), "the container's init ended")
    }

    @Test func `without its bundle nobody knows which control groups are the container's`() throws {
        try expectFailure(.grant, try makeLease(init: ProcessID(of: getpid())), "start the container again")
    }

    @Test func `numbers that are none are not used`() throws {
        try expectFailure(.grant, try makeLease(init: ProcessID(of: getpid()), tpm: "x"), "make no sense")
    }
}
