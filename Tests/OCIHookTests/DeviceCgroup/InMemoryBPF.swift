import CLinux
import Glibc
import Platform
import Synchronization
import VTPMProxy

@testable import OCIHook

/// Programs in memory, which can refuse, and change as under a runtime that interferes.
final class InMemoryBPF: BPF, Sendable {
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

    func open(pinnedAt path: String) throws(Failure) -> Descriptor {
        // What is pinned is a file here, which holds the program's ID.
        let file = try Descriptor.open(path, .read)
        let text = String(decoding: try file.readAll(limit: 16, path), as: UTF8.self)
        guard let program = UInt32(text) else { throw Failure("cannot test", because: "\(text) is pinned") }
        return try opened(program)
    }

    func pin(_ program: borrowing Descriptor, at path: String) throws(Failure) {
        let file = try Descriptor.open(path, OpenOptions(O_WRONLY | O_CREAT | O_EXCL, mode: 0o600))
        try file.writeAll(Array("\(try identifier(of: program))".utf8), path)
    }

    func identifier(of program: borrowing Descriptor) throws(Failure) -> UInt32 {
        let number = program.number
        return state.withLock { $0.opened[number] } ?? 0
    }

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

    var attached: [UInt32] { state.withLock { $0.attached } }
    var calls: [String] { state.withLock { $0.calls } }
    var fewest: Int { state.withLock { $0.fewest } }
}
