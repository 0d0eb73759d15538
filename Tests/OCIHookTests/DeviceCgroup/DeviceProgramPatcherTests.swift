import CLinux
import Glibc
import Platform
import Synchronization
import Testing
import VTPMProxy

@testable import OCIHook

private let tpm = DeviceNumber(major: 253, minor: 65536)

/// Programs in memory, which can refuse, and change as under a runtime that interferes.
private final class InMemoryBPF: BPF, Sendable {
    struct State {
        var attached: [UInt32]
        var flags = BPF_F_ALLOW_MULTI
        var programs: [UInt32: [BPFInstruction]]
        /// Which program a descriptor stands for.
        var opened: [CInt: UInt32] = [:]
        /// Programs that the kernel replaces by none.
        var invalid: Set<UInt32> = []
        /// How many replacements somebody else gets ahead of.
        var races = 0
        /// Programs that a link holds.
        var linked: Set<UInt32> = []
        var calls: [String] = []
        /// The fewest filters that were attached at any time.
        var fewest: Int
        var next: UInt32 = 100
    }

    let state: Mutex<State>

    init(_ programs: [[BPFInstruction]], change: (inout State) -> Void = { _ in }) {
        let numbered = Dictionary(uniqueKeysWithValues: zip(UInt32(1)..., programs))
        var state = State(attached: numbered.keys.sorted(), programs: numbered, fewest: programs.count)
        change(&state)
        self.state = Mutex(state)
    }

    func query(_ cgroup: CInt) -> AttachedPrograms {
        state.withLock { AttachedPrograms(programs: $0.attached, flags: $0.flags) }
    }

    private func opened(_ program: UInt32) throws(Failure) -> Descriptor {
        let descriptor = try Descriptor.open("/dev/null", .read)
        let number = descriptor.number
        state.withLock { $0.opened[number] = program }
        return descriptor
    }

    func open(_ program: UInt32) throws(Failure) -> Descriptor { try opened(program) }

    func dump(_ program: borrowing Descriptor) -> [BPFInstruction] {
        let number = program.number
        return state.withLock { state in state.opened[number].flatMap { state.programs[$0] } ?? [] }
    }

    func load(_ instructions: [BPFInstruction]) throws(Failure) -> Descriptor {
        let program = state.withLock { state in
            state.next += 1
            state.programs[state.next] = instructions
            return state.next
        }
        return try opened(program)
    }

    func attach(_ program: CInt, to cgroup: CInt, flags: UInt32, replacing old: CInt?) throws(Failure) {
        let code: CInt = state.withLock { state in
            defer { state.fewest = min(state.fewest, state.attached.count) }
            guard let new = state.opened[program] else { return EBADF }
            guard flags == state.flags else { return EPERM }
            guard let old else {
                state.calls.append("attach")
                state.attached = flags & BPF_F_ALLOW_MULTI == 0 ? [new] : state.attached + [new]
                return 0
            }
            if let id = state.opened[old], state.invalid.contains(id) { return EINVAL }
            if state.races > 0 {
                state.races -= 1
                return ENOENT
            }
            guard let id = state.opened[old], !state.linked.contains(id),
                let index = state.attached.firstIndex(of: id)
            else { return ENOENT }
            state.calls.append("replace")
            state.attached[index] = new
            return 0
        }
        guard code == 0 else { throw Failure("cannot attach", call: "test", code: code) }
    }

    /// Whether every attached filter allows the device.
    func allows(_ device: DeviceNumber) -> Bool {
        state.withLock { state in
            state.attached.allSatisfy {
                DeviceProgramEmulator.verdict(of: state.programs[$0] ?? [], on: .use(of: device)) == true
            }
        }
    }

    var calls: [String] { state.withLock { $0.calls } }
    var fewest: Int { state.withLock { $0.fewest } }
}

@Suite struct DeviceProgramPatcherTests {
    private let denying = RuntimeProgram.runc.program([])
    private let open = RuntimeProgram.runc.program([Rule(kind: .character, access: .all)])

    private func patch(_ kernel: InMemoryBPF) throws -> [UnpatchableProgram] {
        try DeviceProgramPatcher(kernel: kernel, devices: [tpm]).apply(to: 0)
    }

    @Test func `each denying filter is replaced in one step`() throws {
        let kernel = InMemoryBPF([denying, open, denying])
        #expect(try patch(kernel).isEmpty)
        #expect(kernel.allows(tpm))
        #expect(kernel.calls == ["replace", "replace"])
        #expect(kernel.fewest == 3)
    }

    @Test func `no filter is attached where there is none`() throws {
        let kernel = InMemoryBPF([])
        #expect(try patch(kernel).isEmpty)
        #expect(kernel.calls.isEmpty)
    }

    @Test func `a filter that the kernel does not replace is unpatchable and nothing is attached beside it`() throws {
        let kernel = InMemoryBPF([denying, denying]) { $0.invalid = [1] }
        let unpatchable = try patch(kernel)
        #expect(unpatchable.map(\.id) == [1])
        #expect(unpatchable.map(\.reason.code) == [EINVAL])
        #expect(kernel.calls == ["replace"])
        #expect(kernel.fewest == 2)
    }

    @Test(arguments: [0, BPF_F_ALLOW_OVERRIDE])
    func `a single filter is replaced with the flags it has`(flags: UInt32) throws {
        let kernel = InMemoryBPF([denying]) { $0.flags = flags }
        #expect(try patch(kernel).isEmpty)
        #expect(kernel.allows(tpm))
        #expect(kernel.calls == ["attach"])
    }

    @Test func `a race is run again`() throws {
        let kernel = InMemoryBPF([denying]) { $0.races = 20 }
        #expect(try patch(kernel).isEmpty)
        #expect(kernel.allows(tpm))
    }

    @Test func `a filter that a link holds is unpatchable and the others are extended`() throws {
        let kernel = InMemoryBPF([denying, denying]) { $0.linked = [1] }
        let unpatchable = try patch(kernel)
        #expect(unpatchable.map(\.id) == [1])
        #expect(unpatchable.map(\.reason.code) == [ENOENT])
        #expect(kernel.calls == ["replace"])
    }

    @Test func `a hidden filter is unpatchable and the error names the sysctl`() throws {
        let kernel = InMemoryBPF([[], denying])
        let unpatchable = try patch(kernel)
        #expect(unpatchable.map(\.id) == [1])
        #expect(unpatchable.allSatisfy { $0.reason.hint?.contains("net.core.bpf_jit_harden") == true })
    }

    @Test(
        arguments: [
            (
                "0: (b7) r0 = 2\nAt program exit the register R0 has value\nprocessed 2 insns (limit 1000000)\n",
                "At program exit the register R0 has value"
            ),
            ("processed 2 insns\n", nil),
            ("", nil),
            (String(repeating: "x", count: 500), String(repeating: "x", count: 200)),
        ] as [(String, String?)]
    )
    func `the verifier's last words are its reason`(log: String, reason: String?) {
        #expect(KernelBPF.reason(inLog: log) == reason)
    }
}
