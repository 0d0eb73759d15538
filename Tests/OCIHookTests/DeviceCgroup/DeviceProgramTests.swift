import CLinux
import Platform
import TestSupport
import Testing
import VTPMProxy

@testable import OCIHook

private let tpm = DeviceNumber(major: 10, minor: 224)
private let resourceManager = DeviceNumber(major: 253, minor: 65541)

private let accesses: [DeviceRequest.Access] = (0..<8).map { DeviceRequest.Access(rawValue: $0) }

/// Every access to some devices and their neighbours.
private func requests(on devices: [DeviceNumber]) -> [DeviceRequest] {
    DeviceRequest.Kind.allCases.flatMap { kind in
        accesses.flatMap { access in
            devices.map { DeviceRequest(kind: kind, access: access, device: $0) }
        }
    }
}

private func isGranted(_ request: DeviceRequest, _ devices: [DeviceNumber]) -> Bool {
    request.kind == .character && devices.contains(request.device) && !request.access.contains(.make)
}

@Suite struct DeviceProgramTests {
    @Test(arguments: RuntimeProgram.allCases)
    func `a runtime's filter gains reading and writing of the devices and nothing else`(shape: RuntimeProgram) throws {
        let rules = Rule.usual
        let program = shape.program(rules)
        let granted = [tpm, resourceManager]
        let extended = try DeviceProgram(dumped: program).allowing(granted)
        let neighbours = [
            tpm, resourceManager, DeviceNumber(major: 10, minor: 225), DeviceNumber(major: 253, minor: 5),
            DeviceNumber(major: 11, minor: 224), DeviceNumber(major: 253, minor: 224), DeviceNumber(major: 1, minor: 3),
            DeviceNumber(major: 136, minor: 7), DeviceNumber(major: 10, minor: 65541),
        ]
        for request in requests(on: neighbours) {
            let before = shape.allows(request, rules)
            #expect(DeviceProgramEmulator.verdict(of: program, on: request) == before, "\(request)")
            let after = before || isGranted(request, granted)
            #expect(DeviceProgramEmulator.verdict(of: extended, on: request) == after, "\(request)")
        }
    }

    @Test(arguments: 0..<60 as Range<UInt64>)
    func `whatever the rules, only the devices are added`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let majors: [UInt32] = [0, 1, 10, 253, 4095]
        let minors: [UInt32] = [0, 224, 255, 256, 65535, 65536, 65541, 1_048_575]
        func number() -> DeviceNumber {
            DeviceNumber(
                major: majors.randomElement(using: &random) ?? 0,
                minor: minors.randomElement(using: &random) ?? 0
            )
        }
        let shape = RuntimeProgram.allCases.randomElement(using: &random) ?? .runc
        let rules = (0..<Int.random(in: 0..<12, using: &random)).map { _ in
            let device = number()
            return Rule(
                allows: shape == .systemd || Bool.random(using: &random),
                kind: shape == .crun && Int.random(in: 0..<8, using: &random) == 0
                    ? nil : DeviceRequest.Kind.allCases.randomElement(using: &random),
                access: DeviceRequest.Access(rawValue: UInt32.random(in: 1..<8, using: &random)),
                major: Bool.random(using: &random) ? device.major : nil,
                minor: Bool.random(using: &random) ? device.minor : nil
            )
        }
        let granted = (0..<Int.random(in: 0..<4, using: &random)).map { _ in number() }
        let program = shape.program(rules)
        let extended = try DeviceProgram(dumped: program).allowing(granted)
        let everything = majors.flatMap { major in minors.map { DeviceNumber(major: major, minor: $0) } }
        for request in requests(on: everything) {
            let before = DeviceProgramEmulator.verdict(of: program, on: request)
            #expect(before == shape.allows(request, rules), "\(request)")
            let after = DeviceProgramEmulator.verdict(of: extended, on: request)
            #expect(after == (before == true || isGranted(request, granted)), "\(request)")
        }
    }

    @Test func `an extended filter can be extended again`() throws {
        let once = try DeviceProgram(dumped: RuntimeProgram.runc.program([])).allowing([tpm])
        let twice = try DeviceProgram(dumped: once).allowing([resourceManager])
        #expect(DeviceProgramEmulator.verdict(of: twice, on: .use(of: tpm)) == true)
        #expect(DeviceProgramEmulator.verdict(of: twice, on: .use(of: resourceManager)) == true)
    }

    @Test func `the program itself stays as it was, at the end`() throws {
        let program = RuntimeProgram.systemd.program(Rule.usual)
        #expect(try Array(DeviceProgram(dumped: program).allowing([tpm]).suffix(program.count)) == program)
    }

    @Test func `a mark of the verifier's own is taken off`() throws {
        var marked = BPFInstruction.move(2, from: 2)
        marked.constant = 1
        let filter = try DeviceProgram(dumped: [.load(2, from: 1, at: 0), marked, .set(0, to: 1), .exit])
        #expect(filter.instructions[1] == .move(2, from: 2))
    }

    static let zero = BPFInstruction(opcode: 0)
    static let blinded = BPFInstruction(opcode: UInt8(BPF_ALU64 | BPF_MOV | BPF_K), destination: 11, constant: 77)
    static let blindedOperand = BPFInstruction(opcode: UInt8(BPF_ALU64 | BPF_MOV | BPF_X), source: 11)
    static let call = BPFInstruction(opcode: UInt8(BPF_JMP | BPF_CALL), constant: 5)
    static let map = BPFInstruction(opcode: UInt8(BPF_LD | BPF_IMM | BPF_DW), source: 1, constant: 4)
    static let conditional = BPFInstruction.jump(by: -2, unless: 2, is: 0)

    @Test(arguments: [
        ([], "hides"),
        ([zero], "hides"),
        ([BPFInstruction](repeating: zero, count: 24), "hides"),
        ([blinded, .set(0, to: 1), .exit], "blinded"),
        ([.set(0, to: 1), blindedOperand, .exit], "blinded"),
        ([call, .exit], "calls"),
        ([map, zero, .exit], "map"),
        ([.set(0, to: 1)], "no exit"),
        ([.set(0, to: 1), conditional], "no exit"),
        ([.jump(by: 1), .exit], "out of the program"),
        ([.jump(by: -2), .exit], "out of the program"),
        ([.jump(by: 30000), .exit], "out of the program"),
        ([BPFInstruction(opcode: UInt8(BPF_JMP32 | BPF_JA), constant: 1), .exit, .exit], "long jump"),
        ([BPFInstruction](repeating: .exit, count: DeviceProgram.lengthLimit + 1), "65537 instructions"),
    ])
    func `what the kernel would not take back is refused`(program: [BPFInstruction], reason: String) throws {
        let failure = try #require(throws: Failure.self) { try DeviceProgram(dumped: program) }
        #expect(failure.description.contains(reason))
        #expect(failure.description.contains("bpf_jit_harden") == ["hides", "blinded"].contains(reason))
        #expect(!failure.description.contains("linux.resources"), "nobody knows the numbers before the hook runs")
    }

    @Test(
        arguments: [
            [],
            [.exit],
            [.jump(by: -1)],
            [.set(0, to: 1)],
            [.set(0, to: 2), .set(0, to: 0), call, .exit],
            [.load(0, from: 1, at: 12), .exit],
            [.load(0, from: 1, at: -4), .exit],
            [.load(0, from: 1, at: 2), .exit],
            [.load(0, from: 2, at: 0), .exit],
            [.move(0, from: 1), .exit],
            [.jump(by: 5, unless: 0, is: 1), .exit],
            [BPFInstruction(opcode: UInt8(BPF_ALU64 | BPF_MOV | BPF_X), destination: 15, source: 15), .exit],
        ] as [[BPFInstruction]]
    )
    func `of what no runtime writes nothing is said`(program: [BPFInstruction]) {
        #expect(DeviceProgramEmulator.verdict(of: program, on: .use(of: tpm)) == nil)
    }

    @Test func `random instructions neither trap nor loop`() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<20_000 {
            let program = (0..<Int.random(in: 1..<12, using: &random)).map { _ in
                BPFInstruction(
                    opcode: UInt8.random(in: 0...255, using: &random),
                    destination: UInt8.random(in: 0...15, using: &random),
                    source: UInt8.random(in: 0...15, using: &random),
                    offset: Int16.random(in: -12...12, using: &random),
                    constant: Int32.random(in: .min ... .max, using: &random)
                )
            }
            _ = DeviceProgramEmulator.verdict(of: program, on: .use(of: tpm))
            _ = try? DeviceProgram(dumped: program).allowing([tpm])
        }
    }

    /// runc before 1.1 loaded the type as a half word, and clang keeps the context in another register.
    @Test func `narrow loads and a moved context are understood`() {
        let half = BPFInstruction(opcode: UInt8(BPF_LDX | BPF_MEM | BPF_H), destination: 2, source: 6)
        let program: [BPFInstruction] = [
            BPFInstruction(opcode: UInt8(BPF_ALU64 | BPF_MOV | BPF_X), destination: 6, source: 1),
            half, .set(0, to: 0), .jump(by: 1, unless: 2, is: Int32(BPF_DEVCG_DEV_CHAR)), .set(0, to: 1), .exit,
        ]
        #expect(DeviceProgramEmulator.verdict(of: program, on: .use(of: tpm)) == true)
        let block = DeviceRequest(kind: .block, access: .read, device: tpm)
        #expect(DeviceProgramEmulator.verdict(of: program, on: block) == false)
    }
}
