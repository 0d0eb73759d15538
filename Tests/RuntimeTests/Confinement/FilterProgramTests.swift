import CLibSeccomp
import FoundationEssentials
import Glibc
import Platform
import RuntimeConfinement
import Testing

@testable import RuntimeFilter

/// What libseccomp made of the rules is what they say: each program is run here, as the kernel would, for every call and
/// many arguments.
@Suite struct FilterProgramTests {
    /// What `struct seccomp_data` has. seccomp(2)
    struct Call {
        var number: UInt32
        var architecture: UInt32
        var arguments: [UInt64]

        /// The word at a place in it, as this machine has it in memory: both of ours are little-endian.
        func word(at offset: UInt32) -> UInt32? {
            switch offset {
            case 0: number
            case 4: architecture
            case 16..<64 where offset % 4 == 0:
                UInt32(truncatingIfNeeded: arguments[Int(offset - 16) / 8] >> (offset % 8 == 0 ? 0 : 32))
            default: nil
            }
        }
    }

    /// A classic BPF program. linux/bpf_common.h
    struct Program {
        let instructions: [(code: UInt16, whenTrue: UInt8, whenFalse: UInt8, constant: UInt32)]

        init(_ bytes: [UInt8]) {
            instructions = stride(from: 0, to: bytes.count, by: 8).map { start in
                let constant = bytes[(start + 4)..<(start + 8)].reversed().reduce(0) { $0 << 8 | UInt32($1) }
                let code = UInt16(bytes[start]) | UInt16(bytes[start + 1]) << 8
                return (code, bytes[start + 2], bytes[start + 3], constant)
            }
        }

        /// The action, SECCOMP_RET_*; nothing where the program does what none of libseccomp's does.
        func result(for call: Call) -> UInt32? {
            var (accumulator, next) = (UInt32(0), 0)
            while instructions.indices.contains(next) {
                let (code, whenTrue, whenFalse, constant) = instructions[next]
                next += 1
                switch code {
                case 0x20:
                    guard let word = call.word(at: constant) else { return nil }
                    accumulator = word
                case 0x54: accumulator &= constant
                case 0x05: next += Int(constant)
                case 0x15: next += Int(accumulator == constant ? whenTrue : whenFalse)
                case 0x25: next += Int(accumulator > constant ? whenTrue : whenFalse)
                case 0x35: next += Int(accumulator >= constant ? whenTrue : whenFalse)
                case 0x45: next += Int(accumulator & constant != 0 ? whenTrue : whenFalse)
                case 0x06: return constant
                default: return nil
                }
            }
            return nil
        }
    }

    /// A machine, by libseccomp's number for it, which is that of linux/audit.h.
    enum Machine: UInt32, CaseIterable {
        case x86 = 0xc000_003e
        case arm = 0xc000_00b7

        /// The one that this runs on: its program is the one that is enforced.
        static let native = Machine(rawValue: seccomp_arch_native())

        /// The number of a call there; negative if the machine does not have it, nil if libseccomp does not know it.
        func number(of call: String) -> CInt? {
            let number = seccomp_syscall_resolve_name_arch(rawValue, call)
            return number == __NR_SCMP_ERROR ? nil : number
        }
    }

    static let killed: UInt32 = 0x8000_0000
    // The numbers of arguments are the same on both: Tests/fixtures/arm64.c.
    static let filters = [
        ("worker", SystemCallFilter.worker), ("supervisor", SystemCallFilter.supervisor), ("ca", SystemCallFilter.ca),
    ]

    /// The kernel's number of an action, SECCOMP_RET_ALLOW and others.
    static func result(_ action: SystemCallFilter.Action) -> UInt32 {
        switch action {
        case .allow: 0x7fff_0000
        case .refuse(let code): 0x0005_0000 | UInt32(code)
        case .kill: killed
        }
    }

    @Test(arguments: filters.indices, Machine.allCases)
    func theProgramDoesWhatTheRulesSay(_ index: Int, _ machine: Machine) throws {
        let (name, filter) = Self.filters[index]
        let program = try compile(filter, for: machine)
        #expect(program.instructions.count * 8 < SystemCallProgram.maximumSize / 2, "there is room for new rules")
        let rules = Dictionary(grouping: filter.rules) { machine.number(of: $0.call) ?? -1 }
        var random = SystemRandomNumberGenerator()
        var wrong: [String] = []
        for number in Array(0...600) + [1000, 0x3fff_ffff] {
            let own = rules[CInt(number)] ?? []
            for arguments in Self.arguments(for: own, &random) {
                let fitting = own.filter { rule in rule.arguments.allSatisfy { $0.admits(arguments[Int($0.index)]) } }
                let actions = Set(fitting.map(\.action))
                #expect(actions.count < 2, "\(name): \(fitting.first?.call ?? "") has two ends for \(arguments)")
                let call = Call(number: UInt32(number), architecture: machine.rawValue, arguments: arguments)
                let expected = Self.result(actions.first ?? SystemCallFilter.otherwise)
                if program.result(for: call) != expected { wrong.append("\(number) \(arguments)") }
            }
        }
        #expect(wrong.prefix(5) == [])
    }

    /// The calls of x86's other two ways in, and those of another machine.
    @Test(arguments: filters.indices, Machine.allCases)
    func anotherArchitectureIsTheEnd(_ index: Int, _ machine: Machine) throws {
        let program = try compile(Self.filters[index].1, for: machine)
        let nothing = [UInt64](repeating: 0, count: 6)
        let others = Machine.allCases.map(\.rawValue).filter { $0 != machine.rawValue }
        for architecture in [0x4000_0003, 0x4000_0028, 0x8000_0016, 0] + others {
            let call = Call(number: 0, architecture: architecture, arguments: nothing)
            #expect(program.result(for: call) == Self.killed)
        }
        guard machine == .x86 else { return }
        let x32 = Call(number: 0x4000_0000, architecture: machine.rawValue, arguments: nothing)
        #expect(program.result(for: x32) == Self.killed)
    }

    /// The call by which the C library does the same on a machine that does not have the older one.
    private static let successors = [
        "access": "faccessat", "open": "openat", "poll": "ppoll", "time": "clock_gettime",
    ]

    /// What a program may do on one machine, it may do on the other, by the calls that this one has.
    @Test(arguments: filters.indices) func whatIsAllowedIsThereOnEachMachine(_ index: Int) throws {
        let (name, filter) = Self.filters[index]
        for rule in filter.rules where rule.action != .kill {
            for machine in Machine.allCases {
                let number = try #require(machine.number(of: rule.call), "libseccomp knows no \(rule.call)")
                guard number < 0 else { continue }
                let successor = try #require(
                    Self.successors[rule.call],
                    "\(name) on \(machine): there is no \(rule.call)"
                )
                let others = filter.rules.filter { $0.call == successor }
                #expect(others.contains { $0.action == rule.action }, "\(name) on \(machine): \(successor)")
                #expect(try #require(machine.number(of: successor)) >= 0)
            }
        }
    }

    /// For each argument that is looked at: what the rules compare it with, that with one bit changed, and anything.
    private static func arguments(
        for rules: [SystemCallFilter.Rule],
        _ random: inout SystemRandomNumberGenerator
    ) -> [[UInt64]] {
        var values: [UInt32: Set<UInt64>] = [:]
        for argument in rules.flatMap(\.arguments) {
            var own: Set<UInt64> = [0, .max, argument.value, argument.value | ~argument.mask, argument.mask]
            for bit in 0..<64 { own.insert(argument.value ^ 1 << UInt64(bit)) }
            values[argument.index, default: []].formUnion(own)
        }
        let anything = (0..<6).map { _ in UInt64.random(in: 0...UInt64.max, using: &random) }
        var all = [anything]
        for (index, own) in values {
            all = all.prefix(4000).flatMap { arguments in
                own.map { value in
                    var changed = arguments
                    changed[Int(index)] = value
                    return changed
                }
            }
        }
        return all
    }

    private func compile(_ filter: SystemCallFilter, for machine: Machine) throws -> Program {
        let compiled = try CompiledFilter(filter, for: machine == .native ? nil : machine.rawValue)
        return Program(try compiled.program().bytes)
    }
}
