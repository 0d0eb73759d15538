import Glibc
import Platform
import RuntimeControl
import RuntimeState
import Testing

@testable import RuntimeFilter

/// What supervisor and worker ask of the kernel behind their filters, in a whole life, is what the filters allow: no less,
/// and no more but what a table has a reason for.
@Suite(.serialized) struct SupervisorCallsTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// Allowed to both, and called on other machines, with other libraries or at other times only.
    static let machines = [
        "ppoll": "where the machine has no poll (arm64)",
        "clock_gettime": "where the vDSO has no clock", "gettimeofday": "the same", "time": "the same",
        "mprotect": "where malloc(3) makes a heap beside the first", "mremap": "where it moves a large block",
        "brk": "where the first heap grows", "madvise": "where it shrinks",
        "restart_syscall": "where SIGCONT interrupts poll(2)",
        "exit": "where exit_group is not enough, which the C library allows for",
        "futex": "where a lock of libcrypto's is looked at", "getrandom": "where libcrypto seeds its generator again",
    ]
    static let others: [String: [String: String]] = [
        "supervisor": [
            "sendto": "where there is a log", "socket": "where it has to be connected to again", "connect": "the same",
            "openat": "where the host's TPM is the counter", "access": "the same", "faccessat": "the same (arm64)",
            "fstat": "the same", "newfstatat": "the same", "fstatfs": "the same",
            "getdents64": "the same: `/sys/class/tpm` is listed",
            "fcntl": "the same: fdopendir(3) asks how a directory is open",
            "geteuid": "where a control client is not root",
            "pread64": "where one record of the index is read", "pwrite64": "where one is written",
            "fdatasync": "the same", "ftruncate": "where one is taken back",
        ],
        "worker": [
            "fstat": "where libtpms goes into failure mode, and says so", "newfstatat": "the same", "lseek": "the same",
            "pread64": "where a container that shares a PID namespace has lost its supervisor",
        ],
    ]

    @Test func whatIsAllowedIsWhatIsCalled() throws {
        let calls = try life()
        try compare(calls.supervisor, .supervisor, "supervisor")
        try compare(calls.worker, .worker, "worker")
    }

    private func compare(_ called: Set<String>, _ filter: SystemCallFilter, _ program: String) throws {
        let allowed = Set(filter.rules.filter { $0.action == .allow }.map(\.call))
        let reasons = try #require(Self.others[program])
        #expect(called.subtracting(allowed) == [], "the \(program) calls them, and they are refused")
        let unused = allowed.subtracting(called).subtracting(Self.machines.keys).subtracting(reasons.keys)
        #expect(unused == [], "allowed to the \(program), and never called")
        #expect(Set(reasons.keys).subtracting(allowed) == [], "have a reason, and are not allowed to the \(program)")
        #expect(called.contains("poll") || called.contains("ppoll"), "the trace has nothing of the \(program)")
    }

    /// The calls of a persistent vTPM that stores, tells its state, gets another key and stops, and of one whose worker
    /// is killed.
    private func life() throws -> (supervisor: Set<String>, worker: Set<String>) {
        var calls: (supervisor: Set<String>, worker: Set<String>) = ([], [])
        for isKilled in [false, true] {
            let file = "\(temporary.path)/trace-\(isKilled)"
            let tpm = try VTPMUnderTest(in: temporary, trace: file, traced: "all")
            try tpm.create()
            try tpm.run("tpm2_createprimary -Q -C o -G rsa2048 -c p.ctx && tpm2_pcrread sha256:7")
            _ = try tpm.tool("tpm2_nvdefine -Q 0x1500001 -C o -s 8; tpm2_nvwrite -Q 0x1500001 -C o -i p.ctx")
            #expect(try tpm.status().health == .serving)
            if isKilled {
                kill(tpm.worker, SIGKILL)
                #expect(try tpm.transmit(getRandom) == failureResponse)
                #expect(try tpm.status().health == .failed)
            } else {
                try rekey(tpm)
            }
            try tpm.stop()
            let trace = try SystemCallTrace(file, ended: 1)
            calls.supervisor.formUnion(trace.filtered(tpm.supervisor.process))
            calls.worker.formUnion(trace.filtered(tpm.worker))
        }
        return calls
    }

    private func rekey(_ tpm: VTPMUnderTest) throws {
        let directory = try temporary.directory("run/lease-web")
        let channel = try ControlSocket.connect(in: directory)
        try channel.send(ControlRequest.rekey, secret(1))
        let answer = try channel.receive(into: tpm.buffer)
        switch consume answer {
        case .some(let message): #expect(message.kind == ControlReply.Kind.rekeyed.rawValue)
        case .none: Issue.record("the supervisor says nothing")
        }
    }
}

extension SystemCallTrace {
    /// The names of what a process called once its filter was in force.
    func filtered(_ process: pid_t) -> [String] {
        let own = calls.filter { $0.process == "\(process)" }
        guard let start = own.lastIndex(where: { $0.name == "seccomp" && $0.hasSucceeded }) else { return [] }
        return own[(start + 1)...].map(\.name)
    }
}
