import CLinux
import Glibc
import Platform
import VTPMProxy

@testable import OCIHook

/// A BPF program, as the kernel shows it: two device numbers of four bytes each, then instructions of eight.
///
/// Whatever the program is, extending it never fails but with a reason, and an extended one says of every other device
/// what the old one said.
func fuzzDeviceFilter(_ bytes: UnsafeRawBufferPointer) {
    let input = Array(bytes)
    guard input.count >= 8 else { return }
    let granted = [0, 4].map { offset in
        DeviceNumber(
            major: UInt32(input.integer(at: offset, bytes: 2) & 0xfff),
            minor: UInt32(input.integer(at: offset + 1, bytes: 3) & 0xfffff)
        )
    }
    let old = stride(from: 8, to: input.count - 7, by: 8).map { offset in
        input.withUnsafeBytes { BPFInstruction($0.loadUnaligned(fromByteOffset: offset, as: bpf_insn.self)) }
    }
    let kernel = InMemoryBPF(old)
    let patcher = DeviceProgramPatcher(kernel: kernel, devices: granted)
    let knewAll = patcher.allowsAll(old)
    guard let unpatchable = accepted({ () throws(Failure) in try patcher.apply(to: 0) }) else { return }
    guard let new = kernel.replacement else {
        require(knewAll || !unpatchable.isEmpty, "a filter that denies was left as it is")
        return
    }
    require(unpatchable.isEmpty && !knewAll, "a filter was extended that should not have been")
    require(patcher.allowsAll(new), "an extended filter denies the devices")
    require(old.allSatisfy { $0.raw.code == $0.opcode }, "an instruction does not come back as it was")
    compare(old, new, granted)
}

private func compare(_ old: [BPFInstruction], _ new: [BPFInstruction], _ granted: [DeviceNumber]) {
    // A program with a loop may come to the emulator's bound a few instructions earlier. It may also take all of them
    // for each request.
    let loops = old.contains { [BPF_JMP, BPF_JMP32].contains($0.opcodeClass) && $0.offset < 0 }
    for request in requests(about: old, granted).prefix(loops ? 20 : .max) {
        let isGranted =
            request.kind == .character && granted.contains(request.device) && !request.access.contains(.make)
            && request.access.rawValue < 8
        let after = DeviceProgramEmulator.verdict(of: new, on: request)
        if isGranted {
            require(after == true, "\(request) is denied")
        } else if let before = DeviceProgramEmulator.verdict(of: old, on: request) {
            require(
                after == before || (loops && after == nil),
                "\(request): \(before) became \(String(describing: after))"
            )
        }
    }
}

/// Requests for the devices, for their neighbours, and for what the program compares with.
private func requests(about program: [BPFInstruction], _ granted: [DeviceNumber]) -> [DeviceRequest] {
    let constants = program.prefix(64).map { UInt32(bitPattern: $0.constant) }
    var numbers = granted
    for device in granted {
        numbers += [
            DeviceNumber(major: device.major ^ 1, minor: device.minor),
            .init(major: device.major, minor: device.minor ^ 1),
            DeviceNumber(major: device.minor, minor: device.major),
            .init(major: device.major, minor: device.minor &+ 256),
        ]
    }
    for (one, other) in zip(constants, constants.dropFirst()).prefix(8) {
        numbers += [DeviceNumber(major: one & 0xfff, minor: other & 0xfffff)]
    }
    return numbers.flatMap { device in
        DeviceRequest.Kind.allCases.flatMap { kind in
            (0..<8 as Range<UInt32>).map { DeviceRequest(kind: kind, access: .init(rawValue: $0), device: device) }
        }
    }
}

/// One cgroup with one program, in memory.
private final class InMemoryBPF: BPF {
    private let program: [BPFInstruction]
    private var loaded: [BPFInstruction]?
    /// What was attached in place of the program.
    private(set) var replacement: [BPFInstruction]?

    init(_ program: [BPFInstruction]) { self.program = program }

    func query(_ cgroup: CInt) -> AttachedPrograms { AttachedPrograms(programs: [1], flags: BPF_F_ALLOW_MULTI) }

    func open(_ program: UInt32) throws(Failure) -> Descriptor { try .open("/dev/null", .read) }

    func dump(_ program: borrowing Descriptor) -> [BPFInstruction] { self.program }

    func load(_ instructions: [BPFInstruction]) throws(Failure) -> Descriptor {
        loaded = instructions
        return try .open("/dev/null", .read)
    }

    func attach(_ program: CInt, to cgroup: CInt, flags: UInt32, replacing old: CInt?) { replacement = loaded }

    func open(pinnedAt path: String) throws(Failure) -> Descriptor { try open(1) }

    func pin(_ program: borrowing Descriptor, at path: String) {}

    func identifier(of program: borrowing Descriptor) -> UInt32 { 1 }
}
