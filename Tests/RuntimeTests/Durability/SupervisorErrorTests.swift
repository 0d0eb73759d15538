import Foundation
import Glibc
import Platform
import RuntimeControl
import RuntimeState
import Testing

/// A system call of the supervisor fails, which strace(1) sees to; supervisor, worker, libtpms and tpm2-tools are real.
@Suite(.serialized) struct SupervisorErrorTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    struct Injection: Sendable, CustomTestStringConvertible {
        let calls: String
        let error: String
        /// What the call is about, below the states directory.
        let path: String
        /// Whether the new state can be on disk although it was not acknowledged.
        var mayBeThere = false

        var testDescription: String { "\(calls) of \(path): \(error)" }

        static let all = [
            Injection(calls: "pwrite64", error: "ENOSPC", path: "web/state"),
            Injection(calls: "pwrite64", error: "EDQUOT", path: "web/state"),
            Injection(calls: "fdatasync", error: "EIO", path: "web/state", mayBeThere: true),
        ]
    }

    func start() throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        return tpm
    }

    /// The first two stores succeed, and all from the third on fail.
    @Test(arguments: Injection.all) func aFailedStoreFailsTheTPM(_ injection: Injection) throws {
        let tpm = try start()
        let key = try tpm.endorsementKey()
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7 -a 'ownerread|ownerwrite'")
        let options = [
            "-P", "\(temporary.path)/states/\(injection.path)",
            // By default strace has the kernel do call -1, for which the supervisor's filter kills it.
            "-e", "inject=\(injection.calls):error=\(injection.error):syscall=getpid:when=3+",
        ]
        let tracer = try AttachedTracer(tpm.supervisor.process, options, in: temporary, into: "/dev/null")
        var acknowledged = ""
        var refused = ""
        for number in 0..<6 {
            let value = "value-\(number)"
            guard try tpm.tool("printf \(value) | tpm2_nvwrite -Q 0x1500001 -C o -i -").status == .exited(0) else {
                refused = value
                break
            }
            acknowledged = value
        }
        #expect(acknowledged == "value-1" && refused == "value-2")
        #expect(try tpm.status().health == .failed)
        for command in [getRandom, extendPCR7, WorkerTests.defineSpace(9)] {
            #expect(try tpm.transmit(command) == failureResponse)
        }
        try tracer.detach()
        // The disk is well again, and the TPM must not be.
        #expect(try tpm.transmit(getRandom) == failureResponse)
        try tpm.stop()

        let again = try start()
        #expect(try again.endorsementKey() == key)
        let found = try again.run("tpm2_nvread 0x1500001 -C o -s 7")
        #expect(found == acknowledged || injection.mayBeThere && found == refused, "\(found)")
        #expect(try again.run("tpm2_getcap handles-nv-index") == "- 0x1500001\n")
        try again.run("printf another | tpm2_nvwrite -Q 0x1500001 -C o -i -")
        #expect(try again.stop() == .exited(0))
        #expect(try entries(of: temporary.directory("states/web"), "").sorted() == ["lock", "state"])
    }

    /// The worker hears "stored" only when all is done that makes it true.
    @Test func anAcknowledgementComesAfterAllSyncs() throws {
        let tpm = try start()
        let file = "\(temporary.path)/order"
        let options = ["-f", "-e", "trace=openat2,pwrite64,fsync,fdatasync,renameat,renameat2,sendmsg,recvmsg"]
        let tracer = try AttachedTracer(tpm.supervisor.process, options, in: temporary, into: file)
        let before = try tpm.status().generation
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7 -a 'ownerread|ownerwrite'")
        for number in 0..<3 { try tpm.run("printf value-\(number) | tpm2_nvwrite -Q 0x1500001 -C o -i -") }
        let stores = Int(try tpm.status().generation - before)
        try tpm.stop()
        try tracer.waitForEnd()

        let states = "\(temporary.path)/states/web"
        let steps: [(SystemCallTrace.Call) -> Bool] = [
            { $0.name == "recvmsg" && $0.arguments.contains(#"iov_base="\3"#) },
            { $0.name == "pwrite64" && $0.arguments.contains("<\(states)/state>") },
            { $0.name == "fdatasync" && $0.arguments.hasSuffix("<\(states)/state>") },
        ]
        // All else that is synced meanwhile: a change of NV costs one flush.
        var others: [String] = []
        var done = 0
        var worker: Substring?
        var acknowledgements = 0
        for call in try SystemCallTrace(parsing: String(contentsOfFile: file, encoding: .utf8)).calls {
            if call.name == "fsync" || call.name == "fdatasync" && !call.arguments.hasSuffix("<\(states)/state>") {
                others.append(call.arguments)
            }
            if done < steps.count, call.hasSucceeded, steps[done](call) {
                if done == 0 { worker = call.arguments.prefix { $0 != "," } }
                done += 1
            }
            guard call.name == "sendmsg", call.arguments.contains(#"iov_base="\4", iov_len=1}"#) else { continue }
            #expect(call.arguments.prefix { $0 != "," } == worker, "another than the worker was told")
            #expect(done == steps.count, "acknowledged after step \(done) of \(steps.count)")
            acknowledgements += 1
            done = 0
        }
        #expect(stores >= 4)
        #expect(acknowledgements >= stores)
        #expect(others.allSatisfy { $0.contains("\(temporary.path)/index") }, "\(others)")
    }

    /// What a vTPM's processes change outside their run directory, from their start to their end.
    func changes(isEphemeral: Bool) throws -> [String] {
        let file = "\(temporary.path)/trace"
        let tpm = try VTPMUnderTest(in: temporary, isEphemeral: isEphemeral, trace: file)
        try tpm.create()
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7 -a 'ownerread|ownerwrite'")
        try tpm.run("printf content | tpm2_nvwrite -Q 0x1500001 -C o -i -")
        let content = try tpm.run("tpm2_nvread 0x1500001 -C o -s 7")
        #expect(content == "content")
        #expect(try tpm.status().health == .serving)
        #expect(temporary.exists("run/lease-web/control"))
        #expect(try tpm.stop() == .exited(0))
        let changes = try SystemCallTrace(file, ended: 2).changes
        // The trace is whole: it has what both kinds do.
        #expect(changes.contains("\(temporary.path)/run/lease-web"))
        #expect(changes.contains { $0.hasSuffix("/oom_score_adj") })
        return changes.filter { path in
            let isOurs = path.hasPrefix("\(temporary.path)/run/") || path == "/dev/null"
            let isScore = path.contains(/^\/proc\/\w+\/oom_score_adj$/)
            // The filters' programs, which libseccomp writes to a file.
            let isFilter =
                path.contains(/^memory file "filter", MFD_CLOEXEC(\|MFD_NOEXEC_SEAL|\|0x8)?$/)
                || path.hasPrefix("/memfd:filter")
            // The socket is bound by the number of the lease's directory.
            return !isOurs && !isScore && !isFilter && !path.contains(/^\/proc\/self\/fd\/\d+\/control$/)
        }
    }

    @Test func anEphemeralTPMWritesNothing() throws {
        #expect(try changes(isEphemeral: true) == [])
        #expect(!temporary.exists("states") && !temporary.exists("index"))
    }

    /// The check of the test above finds what there is to be found.
    @Test func aPersistentTPMWritesItsStateAndTheIndex() throws {
        let changes = try changes(isEphemeral: false)
        for path in ["states/web/state.new", "states/web/state", "index/index.new"] {
            #expect(changes.contains("\(temporary.path)/\(path)"), "\(path)")
        }
        #expect(
            changes.allSatisfy { $0.hasPrefix("\(temporary.path)/states") || $0.hasPrefix("\(temporary.path)/index") }
        )
    }

    @Test func theTraceSeesEveryKindOfChange() throws {
        let lines = [
            #"7 openat(AT_FDCWD</>, "/a", O_RDWR|O_CREAT|O_TMPFILE, 0600) = 3</a>"#,
            #"7 memfd_create("x", MFD_CLOEXEC) = 4</memfd:x>"#,
            #"7 mkdirat(5</d>, "m", 0700) = 0"#,
            #"7 renameat(5</d>, "o", 6</e>, "n") = 0"#,
            #"7 unlinkat(5</d>, "u", 0) = 0"#,
            #"7 pwrite64(3</a>, "x", 1, 0 <unfinished ...>"#,
            #"8 write(3<socket:[1]>, "x", 1) = 1"#,
            #"8 openat(AT_FDCWD</>, "/r", O_RDONLY|O_CLOEXEC) = 3</r>"#,
            #"8 openat(AT_FDCWD</>, "/f", O_WRONLY) = -1 EACCES (Permission denied)"#,
            #"7 <... pwrite64 resumed>)       = 1"#,
        ]
        let changes = try SystemCallTrace(parsing: lines.joined(separator: "\n")).changes
        #expect(changes == ["/a", #"memory file "x", MFD_CLOEXEC"#, "/d/m", "/d/o", "/e/n", "/d/u", "/a"])
    }
}
