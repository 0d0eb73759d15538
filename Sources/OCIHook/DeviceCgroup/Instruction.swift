import CLinux

/// One instruction of a BPF program. linux/bpf.h, `struct bpf_insn`
struct Instruction: Hashable, Sendable {
    /// The operation: class, size or operator, and source.
    var operation: UInt8
    /// The register that is written, or compared.
    var destination: UInt8 = 0
    /// The register that is read.
    var source: UInt8 = 0
    /// How far a jump goes, counted from the instruction after it; or where in memory a load reads.
    var offset: Int16 = 0
    /// The constant.
    var constant: Int32 = 0
}

extension Instruction {
    /// The instruction as the kernel gives it.
    init(_ raw: bpf_insn) {
        self.init(
            operation: raw.code,
            destination: raw.dst_reg,
            source: raw.src_reg,
            offset: raw.off,
            constant: raw.imm
        )
    }

    /// The instruction as the kernel takes it.
    var raw: bpf_insn {
        var raw = bpf_insn()
        raw.code = operation
        raw.dst_reg = destination
        raw.src_reg = source
        raw.off = offset
        raw.imm = constant
        return raw
    }

    /// The low three bits: `BPF_LDX`, `BPF_ALU`, `BPF_JMP` and so on.
    var kind: Int32 { Int32(operation & 0x07) }
    /// What an arithmetic or jump instruction does: `BPF_AND`, `BPF_JNE` and so on.
    var arithmetic: Int32 { Int32(operation & 0xf0) }
    /// Whether the second operand is a register and not the constant. `BPF_X`
    var usesSource: Bool { Int32(operation & 0x08) == BPF_X }
}

/// The registers' numbers. linux/bpf.h, `BPF_REG_0` and on
enum Register {
    /// What a program returns.
    static let result = UInt8(BPF_REG_0)
    /// What a program finds its context in, when it starts.
    static let context = UInt8(BPF_REG_1)
    /// How many there are; the kernel has one more for itself, which constant blinding uses.
    static let count = UInt8(__MAX_BPF_REG)
}

// The few instructions that device filters are made of.
extension Instruction {
    /// Loads 32 bits from the memory that a register points to.
    static func load(_ destination: UInt8, from source: UInt8, at offset: Int) -> Instruction {
        Instruction(
            operation: UInt8(BPF_LDX | BPF_MEM | BPF_W),
            destination: destination,
            source: source,
            offset: Int16(offset)
        )
    }

    /// 32-bit arithmetic with a constant.
    static func compute(_ operation: Int32, _ destination: UInt8, _ constant: Int32) -> Instruction {
        Instruction(operation: UInt8(BPF_ALU | operation | BPF_K), destination: destination, constant: constant)
    }

    /// Copies the low 32 bits of a register.
    static func move(_ destination: UInt8, from source: UInt8) -> Instruction {
        Instruction(operation: UInt8(BPF_ALU | BPF_MOV | BPF_X), destination: destination, source: source)
    }

    /// Sets a register to a constant.
    static func set(_ destination: UInt8, to constant: Int32) -> Instruction {
        Instruction(operation: UInt8(BPF_ALU64 | BPF_MOV | BPF_K), destination: destination, constant: constant)
    }

    /// Jumps when a register differs from a constant.
    static func jump(by offset: Int, unless register: UInt8, is constant: Int32) -> Instruction {
        Instruction(
            operation: UInt8(BPF_JMP | BPF_JNE | BPF_K),
            destination: register,
            offset: Int16(offset),
            constant: constant
        )
    }

    /// Ends the program.
    static let exit = Instruction(operation: UInt8(BPF_JMP | BPF_EXIT))
}
