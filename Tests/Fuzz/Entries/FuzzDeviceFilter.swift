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
        input.withUnsafeBytes { Instruction($0.loadUnaligned(fromByteOffset: offset, as: bpf_insn.self)) }
    }
    let kernel = FilterInMemory(old)
    let patch = FilterPatch(kernel: kernel, devices: granted)
    let knewAll = patch.allowsAll(old)
    guard let obstacles = accepted({ () throws(Failure) in try patch.apply(to: 0) }) else { return }
    guard let new = kernel.replacement else {
        require(knewAll || !obstacles.isEmpty, "a filter that denies was left as it is")
        return
    }
    require(obstacles.isEmpty && !knewAll, "a filter was extended that should not have been")
    require(patch.allowsAll(new), "an extended filter denies the devices")
    require(old.allSatisfy { $0.raw.code == $0.operation }, "an instruction does not come back as it was")
    compare(old, new, granted)
}

private func compare(_ old: [Instruction], _ new: [Instruction], _ granted: [DeviceNumber]) {
    // A program with a loop may come to the interpreter's bound a few instructions earlier. It may also take all of them
    // for each request.
    let loops = old.contains { [BPF_JMP, BPF_JMP32].contains($0.kind) && $0.offset < 0 }
    for request in requests(about: old, granted).prefix(loops ? 20 : .max) {
        let isGranted =
            request.kind == .character && granted.contains(request.device) && !request.access.contains(.make)
            && request.access.rawValue < 8
        let after = FilterInterpreter.verdict(of: new, on: request)
        if isGranted {
            require(after == true, "\(request) is denied")
        } else if let before = FilterInterpreter.verdict(of: old, on: request) {
            require(
                after == before || (loops && after == nil),
                "\(request): \(before) became \(String(describing: after))"
            )
        }
    }
}

/// Requests for the devices, for their neighbours, and for what the program compares with.
private func requests(about program: [Instruction], _ granted: [DeviceNumber]) -> [DeviceRequest] {
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

/// One cgroup with one filter, in memory.
private final class FilterInMemory: FilterKernel {
    private let program: [Instruction]
    private var loaded: [Instruction]?
    /// What was attached in place of the program.
    private(set) var replacement: [Instruction]?

    init(_ program: [Instruction]) { self.program = program }

    func filters(of group: CInt) -> AttachedFilters { AttachedFilters(programs: [1], flags: BPF_F_ALLOW_MULTI) }

    func open(_ program: UInt32) throws(Failure) -> Descriptor { try .open("/dev/null", .read) }

    func instructions(of program: borrowing Descriptor) -> [Instruction] { self.program }

    func load(_ instructions: [Instruction]) throws(Failure) -> Descriptor {
        loaded = instructions
        return try .open("/dev/null", .read)
    }

    func attach(_ program: CInt, to group: CInt, flags: UInt32, replacing old: CInt?) { replacement = loaded }

    func detach(_ program: CInt, from group: CInt) {}
}
