import CLinux
import Platform
import VTPMProxy

/// What a program asks the device cgroup for. linux/bpf.h, `struct bpf_cgroup_dev_ctx`
struct DeviceRequest: Hashable, Sendable {
    /// What kind of device.
    enum Kind: Hashable, Sendable, CaseIterable {
        /// A block device.
        case block
        /// A character device.
        case character
    }

    /// What is to be done with it: any of `BPF_DEVCG_ACC_*`.
    struct Access: OptionSet, Hashable, Sendable {
        let rawValue: UInt32

        /// Making a node of it. mknod(2)
        static let make = Access(rawValue: UInt32(BPF_DEVCG_ACC_MKNOD))
        /// Reading from it.
        static let read = Access(rawValue: UInt32(BPF_DEVCG_ACC_READ))
        /// Writing to it.
        static let write = Access(rawValue: UInt32(BPF_DEVCG_ACC_WRITE))
    }

    var kind: Kind
    var access: Access
    var device: DeviceNumber

    /// The kind as programs compare it.
    var kindCode: UInt32 {
        switch kind {
        case .block: UInt32(BPF_DEVCG_DEV_BLOCK)
        case .character: UInt32(BPF_DEVCG_DEV_CHAR)
        }
    }

    /// What is asked for on behalf of a container that has a TPM.
    static func use(of device: DeviceNumber) -> DeviceRequest {
        DeviceRequest(kind: .character, access: [.read, .write], device: device)
    }
}

/// A program of the type `BPF_PROG_TYPE_CGROUP_DEVICE` that can be given a further rule in front.
///
/// What runc, crun, youki and systemd attach is read by this: loads from the context, arithmetic, jumps, an exit. The
/// verifier rewrites none of it (the type has no `convert_ctx_access`), so what the kernel shows can be loaded again.
struct DeviceFilter: Equatable, Sendable {
    /// The program.
    let instructions: [Instruction]

    /// The offsets of the context's members.
    enum Context {
        static let access = 0
        static let major = 4
        static let minor = 8
        static let size = 12
    }

    /// No filter of a container comes near this; it keeps a hostile length from being believed.
    static let longest = 1 << 16

    /// Takes what the kernel showed of a program, if all of it can be loaded again.
    ///
    /// A program that the kernel blinded (`net.core.bpf_jit_harden`) is shown as nothing or as zeros to whom it hides
    /// its addresses from, and else with the blinding in it: the verifier takes neither. One with calls, maps or
    /// other pseudo instructions is no filter that a runtime made.
    init(dumped instructions: [Instruction]) throws(Failure) {
        let what = "cannot extend a device filter"
        guard !instructions.isEmpty, instructions.contains(where: { $0 != Instruction(operation: 0) }) else {
            throw Failure(what, because: "the kernel hides its instructions", remedy: Self.blindingRemedy)
        }
        guard instructions.allSatisfy({ $0.destination < Register.count && $0.source < Register.count }) else {
            throw Failure(what, because: "the kernel has blinded its constants", remedy: Self.blindingRemedy)
        }
        guard instructions.count <= Self.longest else {
            throw Failure(what, because: "it has \(instructions.count) instructions")
        }
        for (index, instruction) in instructions.enumerated() {
            guard let reason = Self.objection(to: instruction, at: index, of: instructions.count) else { continue }
            throw Failure(what, because: "instruction \(index) \(reason)")
        }
        self.instructions = instructions.map(Self.withoutZeroExtensionMark)
    }

    /// Why an instruction is none of a plain filter.
    private static func objection(to instruction: Instruction, at index: Int, of count: Int) -> String? {
        switch instruction.kind {
        case BPF_LDX, BPF_ALU, BPF_ALU64, BPF_ST, BPF_STX:
            return index + 1 < count ? nil : "is the last and no exit"
        case BPF_JMP, BPF_JMP32:
            if instruction.arithmetic == BPF_CALL { return "calls a function" }
            if instruction.arithmetic == BPF_EXIT { return nil }
            // BPF_JMP32 | BPF_JA, of Linux 6.6, has its distance in the constant.
            if instruction.kind == BPF_JMP32, instruction.arithmetic == BPF_JA { return "is a long jump" }
            let target = index + 1 + Int(instruction.offset)
            guard target >= 0, target < count else { return "jumps out of the program" }
            // The last may be a jump back, but nothing that can fall through.
            if index + 1 == count, instruction.arithmetic != BPF_JA { return "is the last and no exit" }
            return nil
        default:
            return "loads a constant of 64 bits or refers to a map"
        }
    }

    /// On machines without implicit zero extension the verifier adds moves of 32 bits that are marked with 1 in the
    /// constant, and takes no such mark itself. linux/filter.h, `BPF_ZEXT_REG`
    private static func withoutZeroExtensionMark(_ instruction: Instruction) -> Instruction {
        guard instruction.operation == UInt8(BPF_ALU | BPF_MOV | BPF_X), instruction.constant == 1 else {
            return instruction
        }
        var plain = instruction
        plain.constant = 0
        return plain
    }

    static let blindingRemedy = "set net.core.bpf_jit_harden to 0 or 1 before the container is created"
}

extension DeviceFilter {
    /// The program with a rule in front: reading and writing these character devices, and nothing else, is allowed
    /// whatever the program says.
    ///
    /// The rule uses r0 and r2 to r5, which hold nothing when a program starts, and leaves the context in r1. It falls
    /// through into the program, whose jumps are relative: so none of it changes.
    func allowing(_ devices: [DeviceNumber]) -> [Instruction] {
        let (kind, access, major, minor): (UInt8, UInt8, UInt8, UInt8) = (2, 3, 4, 5)
        let others = ~Int32(bitPattern: DeviceRequest.Access([.read, .write]).rawValue)
        var comparisons: [Instruction] = []
        for device in devices {
            // A minor number takes 20 bits and a major one 12: neither is negative as a constant of 32 bits.
            comparisons += [
                .jump(by: 3, unless: major, is: Int32(truncatingIfNeeded: device.major)),
                .jump(by: 2, unless: minor, is: Int32(truncatingIfNeeded: device.minor)),
                .set(Register.result, to: 1),
                .exit,
            ]
        }
        let numbers: [Instruction] = [
            .load(major, from: Register.context, at: Context.major),
            .load(minor, from: Register.context, at: Context.minor),
        ]
        let length = numbers.count + comparisons.count
        return [
            .load(kind, from: Register.context, at: Context.access),
            .move(access, from: kind),
            .compute(BPF_AND, kind, 0xffff),
            .compute(BPF_RSH, access, 16),
            .compute(BPF_AND, access, others),
            .jump(by: length + 1, unless: kind, is: Int32(BPF_DEVCG_DEV_CHAR)),
            .jump(by: length, unless: access, is: 0),
        ] + numbers + comparisons + instructions
    }
}
