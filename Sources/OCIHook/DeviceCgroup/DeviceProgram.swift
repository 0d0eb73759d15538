import CLinux
import Glibc
import Platform
import VTPMProxy

/// One instruction of a BPF program. linux/bpf.h, `struct bpf_insn`
struct BPFInstruction: Hashable, Sendable {
    /// The class, the operator or the size and mode, and the kind of the second operand.
    var opcode: UInt8
    /// The destination register, which is written or compared.
    var destination: UInt8 = 0
    /// The source register, which is read.
    var source: UInt8 = 0
    /// The distance of a jump, counted from the next instruction; or the offset in memory of a load.
    var offset: Int16 = 0
    var constant: Int32 = 0
}

extension BPFInstruction {
    /// Converts an instruction that was read from the kernel.
    init(_ raw: bpf_insn) {
        self.init(
            opcode: raw.code,
            destination: raw.dst_reg,
            source: raw.src_reg,
            offset: raw.off,
            constant: raw.imm
        )
    }

    /// The instruction in the kernel's layout.
    var raw: bpf_insn {
        var raw = bpf_insn()
        raw.code = opcode
        raw.dst_reg = destination
        raw.src_reg = source
        raw.off = offset
        raw.imm = constant
        return raw
    }

    /// The instruction class: `BPF_LDX`, `BPF_ALU`, `BPF_JMP` and so on. `BPF_CLASS`
    var opcodeClass: Int32 { Int32(opcode & 0x07) }
    /// The operator of an arithmetic instruction or a jump: `BPF_AND`, `BPF_JNE` and so on. `BPF_OP`
    var opcodeOperator: Int32 { Int32(opcode & 0xf0) }
    /// Whether the second operand is a register and not the constant. `BPF_SRC`
    var usesSource: Bool { Int32(opcode & 0x08) == BPF_X }
}

/// The numbers of the registers. linux/bpf.h, `BPF_REG_0` and on
enum BPFRegister {
    /// The register that holds a program's result at its exit.
    static let result = UInt8(BPF_REG_0)
    /// The register that holds the context's address when a program starts.
    static let context = UInt8(BPF_REG_1)
    /// The number of registers; the kernel has one more of its own, which constant blinding uses.
    static let count = UInt8(__MAX_BPF_REG)
}

// The few instructions that the rule needs.
extension BPFInstruction {
    /// Loads 32 bits from memory; `source` holds the address, to which `offset` is added.
    static func load(_ destination: UInt8, from source: UInt8, at offset: Int) -> BPFInstruction {
        BPFInstruction(
            opcode: UInt8(BPF_LDX | BPF_MEM | BPF_W),
            destination: destination,
            source: source,
            offset: Int16(offset)
        )
    }

    /// Computes with the low 32 bits of a register and a constant; clears the high ones.
    static func compute(_ operation: Int32, _ destination: UInt8, _ constant: Int32) -> BPFInstruction {
        BPFInstruction(opcode: UInt8(BPF_ALU | operation | BPF_K), destination: destination, constant: constant)
    }

    /// Copies the low 32 bits of a register; clears the high ones of the destination.
    static func move(_ destination: UInt8, from source: UInt8) -> BPFInstruction {
        BPFInstruction(opcode: UInt8(BPF_ALU | BPF_MOV | BPF_X), destination: destination, source: source)
    }

    /// Sets a register to a sign-extended constant.
    static func set(_ destination: UInt8, to constant: Int32) -> BPFInstruction {
        BPFInstruction(opcode: UInt8(BPF_ALU64 | BPF_MOV | BPF_K), destination: destination, constant: constant)
    }

    /// Jumps if a register differs from a constant; `offset` counts from the next instruction.
    static func jump(by offset: Int, unless register: UInt8, is constant: Int32) -> BPFInstruction {
        BPFInstruction(
            opcode: UInt8(BPF_JMP | BPF_JNE | BPF_K),
            destination: register,
            offset: Int16(offset),
            constant: constant
        )
    }

    /// Ends the program with r0 as its result.
    static let exit = BPFInstruction(opcode: UInt8(BPF_JMP | BPF_EXIT))
}

/// A program of the type `BPF_PROG_TYPE_CGROUP_DEVICE` that can be loaded again with a rule in front.
///
/// All programs that runc, crun, youki and systemd attach are such programs. They only have loads from the context,
/// arithmetic, jumps and exits. The verifier rewrites none of these instructions, since the type has no
/// `convert_ctx_access`. So the kernel accepts what it shows.
struct DeviceProgram: Equatable, Sendable {
    let instructions: [BPFInstruction]

    /// The byte offsets of the context's members. linux/bpf.h, `struct bpf_cgroup_dev_ctx`
    enum Context {
        static let access = 0
        static let major = 4
        static let minor = 8
    }

    /// The longest program that is read, in instructions.
    ///
    /// No program of a container comes near this limit. It guards against a hostile length.
    static let lengthLimit = 1 << 16

    /// Takes the instructions that the kernel showed; throws unless all of them can be loaded again.
    ///
    /// If the kernel blinded a program (`net.core.bpf_jit_harden`), it shows no instructions or zeros to readers from
    /// whom it hides its addresses. It shows the blinded program to all others. The verifier accepts neither. A program
    /// with calls, maps or other pseudo instructions was not made by a runtime.
    init(dumped instructions: [BPFInstruction]) throws(Failure) {
        let what = "cannot extend a device filter"
        guard !instructions.isEmpty, instructions.contains(where: { $0 != BPFInstruction(opcode: 0) }) else {
            throw Failure(what, because: "the kernel hides its instructions", hint: Self.blindingHint)
        }
        guard instructions.allSatisfy({ $0.destination < BPFRegister.count && $0.source < BPFRegister.count }) else {
            throw Failure(what, because: "the kernel has blinded its constants", hint: Self.blindingHint)
        }
        guard instructions.count <= Self.lengthLimit else {
            throw Failure(what, because: "it has \(instructions.count) instructions")
        }
        for (index, instruction) in instructions.enumerated() {
            guard let reason = Self.objection(to: instruction, at: index, of: instructions.count) else { continue }
            throw Failure(what, because: "instruction \(index) \(reason)")
        }
        self.instructions = instructions.map(Self.withoutZeroExtensionMark)
    }

    /// Returns the reason why an instruction cannot be loaded again; nil if it can.
    private static func objection(to instruction: BPFInstruction, at index: Int, of count: Int) -> String? {
        switch instruction.opcodeClass {
        case BPF_LDX, BPF_ALU, BPF_ALU64, BPF_ST, BPF_STX:
            return index + 1 < count ? nil : "is the last and no exit"
        case BPF_JMP, BPF_JMP32:
            if instruction.opcodeOperator == BPF_CALL { return "calls a function" }
            if instruction.opcodeOperator == BPF_EXIT { return nil }
            // Since Linux 6.6, BPF_JMP32 | BPF_JA has its distance in the constant.
            if instruction.opcodeClass == BPF_JMP32, instruction.opcodeOperator == BPF_JA { return "is a long jump" }
            let target = index + 1 + Int(instruction.offset)
            guard target >= 0, target < count else { return "jumps out of the program" }
            // The last instruction may jump back, but must not fall through.
            if index + 1 == count, instruction.opcodeOperator != BPF_JA { return "is the last and no exit" }
            return nil
        default:
            return "loads a constant of 64 bits or refers to a map"
        }
    }

    /// Removes a mark that the verifier adds but does not accept.
    ///
    /// On machines without implicit zero extension, it adds 32-bit moves with the constant 1. linux/filter.h,
    /// `BPF_ZEXT_REG`
    private static func withoutZeroExtensionMark(_ instruction: BPFInstruction) -> BPFInstruction {
        guard instruction.opcode == UInt8(BPF_ALU | BPF_MOV | BPF_X), instruction.constant == 1 else {
            return instruction
        }
        var plain = instruction
        plain.constant = 0
        return plain
    }

    private static let blindingHint = "set net.core.bpf_jit_harden to 0 or 1 before the container is created"

    /// Returns the program with a rule in front that allows reading and writing these character devices.
    ///
    /// The rule uses r0 and r2 to r5, which are not initialized when a program starts, and leaves the context in r1.
    /// Any other access falls through into the program. Its jumps are relative, so it needs no change.
    func allowing(_ devices: [DeviceNumber]) -> [BPFInstruction] {
        let (kind, access, major, minor): (UInt8, UInt8, UInt8, UInt8) = (2, 3, 4, 5)
        let others = ~Int32(bitPattern: DeviceRequest.Access([.read, .write]).rawValue)
        var comparisons: [BPFInstruction] = []
        for device in devices {
            // Minor numbers have 20 bits and major ones 12, so neither is negative as a 32-bit constant.
            comparisons += [
                .jump(by: 3, unless: major, is: Int32(truncatingIfNeeded: device.major)),
                .jump(by: 2, unless: minor, is: Int32(truncatingIfNeeded: device.minor)),
                .set(BPFRegister.result, to: 1),
                .exit,
            ]
        }
        let numbers: [BPFInstruction] = [
            .load(major, from: BPFRegister.context, at: Context.major),
            .load(minor, from: BPFRegister.context, at: Context.minor),
        ]
        let length = numbers.count + comparisons.count
        return [
            .load(kind, from: BPFRegister.context, at: Context.access),
            .move(access, from: kind),
            .compute(BPF_AND, kind, 0xffff),
            .compute(BPF_RSH, access, 16),
            .compute(BPF_AND, access, others),
            .jump(by: length + 1, unless: kind, is: Int32(BPF_DEVCG_DEV_CHAR)),
            .jump(by: length, unless: access, is: 0),
        ] + numbers + comparisons + instructions
    }
}

/// Puts a rule in front of each device program of one cgroup.
///
/// An existing program is never missing, not even for a moment. A cgroup without a program denies nothing, so it gets
/// none.
struct DeviceProgramPatcher<Kernel: BPF> {
    let kernel: Kernel
    /// The devices that the rule allows.
    let devices: [DeviceNumber]

    /// The number of retries if another process replaces a program at the same time.
    private let raceLimit = 20

    /// Replaces every program of the cgroup that does not allow the devices yet.
    ///
    /// - Returns: The programs that deny the devices and could not be replaced. The caller has to check whether that
    ///   matters.
    func apply(to cgroup: CInt) throws(Failure) -> [UnpatchableProgram] {
        var races = 0
        var unpatchable: [UInt32: Failure] = [:]
        restart: while true {
            let attached = try kernel.query(cgroup)
            for program in attached.programs where unpatchable[program] == nil {
                do {
                    try replace(program, of: cgroup, attached.flags)
                } catch let error where error.code == ENOENT && races < raceLimit {
                    // The program is no longer attached: another process replaced it at the same time.
                    races += 1
                    continue restart
                } catch {
                    // A lasting ENOENT means that a bpf_link holds the program; BPF_F_REPLACE finds only programs
                    // without one.
                    unpatchable[program] = error
                }
            }
            return unpatchable.sorted { $0.key < $1.key }.map { UnpatchableProgram(id: $0.key, reason: $0.value) }
        }
    }

    private func replace(_ program: UInt32, of cgroup: CInt, _ flags: UInt32) throws(Failure) {
        let old = try kernel.open(program)
        let dumped = try kernel.dump(old)
        guard !allowsAll(dumped) else { return }
        let new = try kernel.load(DeviceProgram(dumped: dumped).allowing(devices))
        try attach(new, to: cgroup, flags, replacing: old)
    }

    private func attach(
        _ new: borrowing Descriptor,
        to cgroup: CInt,
        _ flags: UInt32,
        replacing old: borrowing Descriptor
    ) throws(Failure) {
        // Without BPF_F_ALLOW_MULTI a cgroup has one program, which attaching a new one replaces.
        let replaced = flags & BPF_F_ALLOW_MULTI == 0 ? nil : old.number
        try kernel.attach(new.number, to: cgroup, flags: flags, replacing: replaced)
    }

    /// Replaces a program of the cgroup by another; does nothing if it is not attached.
    func replace(
        _ old: borrowing Descriptor,
        by new: borrowing Descriptor,
        of cgroup: CInt
    ) throws(Failure) {
        let attached = try kernel.query(cgroup)
        guard attached.programs.contains(try kernel.identifier(of: old)) else { return }
        try attach(new, to: cgroup, attached.flags, replacing: old)
    }

    /// Returns whether a program certainly allows all the devices.
    func allowsAll(_ instructions: [BPFInstruction]) -> Bool {
        devices.allSatisfy { DeviceProgramEmulator.verdict(of: instructions, on: .use(of: $0)) == true }
    }
}

/// A program that denies the devices and could not be replaced.
struct UnpatchableProgram: Equatable, Sendable {
    /// The program's ID, as `bpftool prog` shows it.
    var id: UInt32
    var reason: Failure
}
