import CLinux
import Platform
import VTPMProxy

/// An access that the device cgroup has to decide about. linux/bpf.h, `struct bpf_cgroup_dev_ctx`
struct DeviceRequest: Hashable, Sendable {
    /// The type of a device. `BPF_DEVCG_DEV_*`
    enum Kind: Hashable, Sendable, CaseIterable {
        case block
        case character
    }

    /// The kinds of access. `BPF_DEVCG_ACC_*`
    struct Access: OptionSet, Hashable, Sendable {
        let rawValue: UInt32

        /// Creating a node. mknod(2)
        static let make = Access(rawValue: UInt32(BPF_DEVCG_ACC_MKNOD))
        static let read = Access(rawValue: UInt32(BPF_DEVCG_ACC_READ))
        static let write = Access(rawValue: UInt32(BPF_DEVCG_ACC_WRITE))
    }

    var kind: Kind
    var access: Access
    var device: DeviceNumber

    /// The kind's number in the context's `access_type`, in its low 16 bits.
    var kindCode: UInt32 {
        switch kind {
        case .block: UInt32(BPF_DEVCG_DEV_BLOCK)
        case .character: UInt32(BPF_DEVCG_DEV_CHAR)
        }
    }

    /// Returns the request to read and write a character device, which is how a container uses its TPM.
    static func use(of device: DeviceNumber) -> DeviceRequest {
        DeviceRequest(kind: .character, access: [.read, .write], device: device)
    }
}

/// An emulator that runs device programs as the kernel would, to find out whether they allow a request.
///
/// It knows the instructions of runtimes' programs. A program with any other has no verdict, which never counts as
/// permission.
struct DeviceProgramEmulator {
    /// The value of a register.
    private enum Value: Equatable {
        case number(UInt64)
        /// The address of the context, which can be copied and loaded from, but not computed with.
        case context
    }

    private let instructions: [BPFInstruction]
    private let context: [UInt8]
    private var registers = [Value?](repeating: nil, count: Int(BPFRegister.count))

    private init(_ instructions: [BPFInstruction], _ request: DeviceRequest) {
        self.instructions = instructions
        let words = [request.access.rawValue << 16 | request.kindCode, request.device.major, request.device.minor]
        context = words.flatMap { word in withUnsafeBytes(of: word) { Array($0) } }
        registers[Int(BPFRegister.context)] = .context
    }

    /// Returns whether a program allows a request; nil if it has an unknown instruction or does not end.
    static func verdict(of instructions: [BPFInstruction], on request: DeviceRequest) -> Bool? {
        var emulator = DeviceProgramEmulator(instructions, request)
        return emulator.run()
    }

    private mutating func run() -> Bool? {
        var index = 0
        // Runtimes' programs only jump forward; the bound is for programs with loops.
        for _ in 0..<DeviceProgram.lengthLimit {
            guard instructions.indices.contains(index) else { return nil }
            let instruction = instructions[index]
            guard instruction.destination < BPFRegister.count, instruction.source < BPFRegister.count else {
                return nil
            }
            index += 1
            switch instruction.opcodeClass {
            case BPF_JMP where instruction.opcodeOperator == BPF_EXIT:
                guard case .number(let result) = registers[Int(BPFRegister.result)] else { return nil }
                // The verifier allows only the results 0 and 1 for device programs.
                return result == 1
            case BPF_JMP, BPF_JMP32:
                guard let taken = isTaken(instruction) else { return nil }
                if taken { index += Int(instruction.offset) }
            case BPF_ALU, BPF_ALU64:
                guard let value = result(of: instruction) else { return nil }
                registers[Int(instruction.destination)] = value
            case BPF_LDX:
                guard let value = loaded(by: instruction) else { return nil }
                registers[Int(instruction.destination)] = .number(value)
            default:
                return nil
            }
        }
        return nil
    }

    private func number(_ register: UInt8) -> UInt64? {
        guard case .number(let value) = registers[Int(register)] else { return nil }
        return value
    }

    /// Returns the second operand, a register's value or the sign-extended constant; nil if it is no number.
    private func operand(_ instruction: BPFInstruction) -> UInt64? {
        instruction.usesSource
            ? number(instruction.source)
            : UInt64(bitPattern: Int64(instruction.constant))
    }

    private func loaded(by instruction: BPFInstruction) -> UInt64? {
        guard registers[Int(instruction.source)] == .context,
            Int32(instruction.opcode & 0xe0) == BPF_MEM
        else { return nil }
        let start = Int(instruction.offset)
        switch Int32(instruction.opcode & 0x18) {
        case BPF_W: return integer(UInt32.self, at: start)
        case BPF_H: return integer(UInt16.self, at: start)
        case BPF_B: return integer(UInt8.self, at: start)
        default: return nil
        }
    }

    private func integer<Integer: FixedWidthInteger>(_ type: Integer.Type, at start: Int) -> UInt64? {
        let size = MemoryLayout<Integer>.size
        guard start >= 0, start % size == 0, start + size <= context.count else { return nil }
        return context.withUnsafeBytes { UInt64($0.load(fromByteOffset: start, as: Integer.self)) }
    }

    private func result(of instruction: BPFInstruction) -> Value? {
        let wide = instruction.opcodeClass == BPF_ALU64
        // Since Linux 6.6, an offset makes the instruction a signed division or a sign extension.
        guard instruction.offset == 0 else { return nil }
        if instruction.opcodeOperator == BPF_MOV, instruction.usesSource, wide {
            return registers[Int(instruction.source)]
        }
        guard let second = operand(instruction) else { return nil }
        if instruction.opcodeOperator == BPF_MOV { return .number(wide ? second : second & 0xffff_ffff) }
        guard let first = number(instruction.destination) else { return nil }
        let shift = second & (wide ? 63 : 31)
        let low = wide ? first : first & 0xffff_ffff
        let value: UInt64
        switch instruction.opcodeOperator {
        case BPF_ADD: value = first &+ second
        case BPF_SUB: value = first &- second
        case BPF_AND: value = first & second
        case BPF_OR: value = first | second
        case BPF_XOR: value = first ^ second
        case BPF_LSH: value = first << shift
        case BPF_RSH: value = low >> shift
        default: return nil
        }
        return .number(wide ? value : value & 0xffff_ffff)
    }

    private func isTaken(_ instruction: BPFInstruction) -> Bool? {
        if instruction.opcodeOperator == BPF_JA { return instruction.opcodeClass == BPF_JMP ? true : nil }
        guard var first = number(instruction.destination), var second = operand(instruction) else { return nil }
        var (signedFirst, signedSecond) = (Int64(bitPattern: first), Int64(bitPattern: second))
        if instruction.opcodeClass == BPF_JMP32 {
            signedFirst = Int64(Int32(truncatingIfNeeded: first))
            signedSecond = Int64(Int32(truncatingIfNeeded: second))
            (first, second) = (first & 0xffff_ffff, second & 0xffff_ffff)
        }
        switch instruction.opcodeOperator {
        case BPF_JEQ: return first == second
        case BPF_JNE: return first != second
        case BPF_JGT: return first > second
        case BPF_JGE: return first >= second
        case BPF_JLT: return first < second
        case BPF_JLE: return first <= second
        case BPF_JSET: return first & second != 0
        case BPF_JSGT: return signedFirst > signedSecond
        case BPF_JSGE: return signedFirst >= signedSecond
        case BPF_JSLT: return signedFirst < signedSecond
        case BPF_JSLE: return signedFirst <= signedSecond
        default: return nil
        }
    }
}
