import CLinux
import Platform
import VTPMProxy

@testable import OCIHook

/// A rule of a runtime's configuration; a kind, major or minor number that is missing stands for all.
struct Rule: Sendable {
    var allows = true
    var kind: DeviceRequest.Kind?
    var access: DeviceRequest.Access
    var major: UInt32?
    var minor: UInt32?

    func matches(_ request: DeviceRequest) -> Bool {
        (kind == nil || kind == request.kind) && access.isSuperset(of: request.access)
            && (major == nil || major == request.device.major) && (minor == nil || minor == request.device.minor)
    }
}

// What the programs of runtimes have, and the hook's own has not.
extension BPFInstruction {
    /// Whether it is one of the two classes of jumps, to which calls and the exit belong.
    var isJump: Bool { opcodeClass == BPF_JMP || opcodeClass == BPF_JMP32 }

    /// Jumps when two registers differ.
    static func jump(by offset: Int, unless register: UInt8, equals other: UInt8) -> BPFInstruction {
        BPFInstruction(
            opcode: UInt8(BPF_JMP | BPF_JNE | BPF_X),
            destination: register,
            source: other,
            offset: Int16(offset)
        )
    }

    /// Jumps always.
    static func jump(by offset: Int) -> BPFInstruction {
        BPFInstruction(opcode: UInt8(BPF_JMP | BPF_JA), offset: Int16(offset))
    }
}

extension DeviceRequest.Access {
    static let all: Self = [.make, .read, .write]
}

/// Programs laid out as those of the runtimes, from rules.
enum RuntimeProgram: CaseIterable, Sendable {
    /// Type, access, major and minor compared in this order; each block returns for itself; a default at the end.
    case runc
    /// The same, where a rule without any condition ends the program.
    case crun
    /// The access compared first; each block jumps to one common exit; rules only ever allow.
    case systemd

    /// What the rules say, by the runtime's own logic and no program.
    func allows(_ request: DeviceRequest, _ rules: [Rule]) -> Bool {
        switch self {
        case .runc, .crun: rules.first { $0.matches(request) }?.allows ?? false
        case .systemd: rules.contains { $0.matches(request) }
        }
    }

    func program(_ rules: [Rule]) -> [BPFInstruction] {
        let start: [BPFInstruction] = [
            .load(2, from: 1, at: 0), .compute(BPF_AND, 2, 0xffff),
            .load(3, from: 1, at: 0), .compute(BPF_RSH, 3, 16),
            .load(4, from: 1, at: 4), .load(5, from: 1, at: 8),
        ]
        return start + (self == .systemd ? jumping(rules) : returning(rules))
    }

    private func returning(_ rules: [Rule]) -> [BPFInstruction] {
        var program: [BPFInstruction] = []
        for rule in rules {
            let tests = kindTest(rule) + accessTest(rule) + numberTests(rule)
            program += aimed(tests, past: 2) + [.set(0, to: rule.allows ? 1 : 0), .exit]
            if self == .crun, tests.isEmpty { return program }
        }
        return program + [.set(0, to: 0), .exit]
    }

    private func jumping(_ rules: [Rule]) -> [BPFInstruction] {
        let blocks = rules.map { aimed(accessTest($0) + kindTest($0) + numberTests($0), past: 1) }
        var left = blocks.reduce(0) { $0 + $1.count + 1 }
        var program: [BPFInstruction] = []
        for block in blocks {
            left -= block.count + 1
            // Over what is left and over the denial, to the permission.
            program += block + [.jump(by: left + 2)]
        }
        return program + [.set(0, to: 0), .jump(by: 1), .set(0, to: 1), .exit]
    }

    private func kindTest(_ rule: Rule) -> [BPFInstruction] {
        guard let kind = rule.kind else { return [] }
        let code = kind == .block ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR
        return [.jump(by: 0, unless: 2, is: Int32(code))]
    }

    private func accessTest(_ rule: Rule) -> [BPFInstruction] {
        guard rule.access != .all else { return [] }
        return [
            .move(1, from: 3), .compute(BPF_AND, 1, Int32(rule.access.rawValue)), .jump(by: 0, unless: 1, equals: 3),
        ]
    }

    private func numberTests(_ rule: Rule) -> [BPFInstruction] {
        (rule.major.map { [.jump(by: 0, unless: 4, is: Int32($0))] } ?? [])
            + (rule.minor.map { [.jump(by: 0, unless: 5, is: Int32($0))] } ?? [])
    }

    /// Has every jump of a block go to what follows it.
    private func aimed(_ tests: [BPFInstruction], past verdict: Int) -> [BPFInstruction] {
        tests.enumerated().map { index, instruction in
            guard instruction.isJump else { return instruction }
            var aimed = instruction
            aimed.offset = Int16(tests.count - index - 1 + verdict)
            return aimed
        }
    }
}

extension Rule {
    /// What every container of runc may use: making any node, and the usual devices.
    static let usual: [Rule] = [
        Rule(kind: .character, access: .make), Rule(kind: .block, access: .make),
        Rule(kind: .character, access: .all, major: 1, minor: 3),
        Rule(kind: .character, access: .all, major: 1, minor: 8),
        Rule(kind: .character, access: .all, major: 136),
        Rule(kind: .character, access: [.read, .write], major: 5, minor: 2),
    ]
}
