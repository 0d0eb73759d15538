import CLinux
import Glibc
import Platform
import Testing

@testable import OCIHook

private let tpm = DeviceNumber(major: 253, minor: 65536)

@Suite struct DeviceProgramPatcherTests {
    private let denying = RuntimeProgram.runc.program([])
    private let open = RuntimeProgram.runc.program([Rule(kind: .character, access: .all)])

    private func patch(_ kernel: InMemoryBPF) throws -> [UnpatchableProgram] {
        try DeviceProgramPatcher(kernel: kernel, devices: [tpm]).apply(to: 0)
    }

    @Test func `each denying filter is replaced in one step`() throws {
        let kernel = InMemoryBPF([denying, open, denying])
        #expect(try patch(kernel).isEmpty)
        #expect(kernel.allows(tpm))
        #expect(kernel.calls == ["replace", "replace"])
        #expect(kernel.fewest == 3)
    }

    @Test func `no filter is attached where there is none`() throws {
        let kernel = InMemoryBPF([])
        #expect(try patch(kernel).isEmpty)
        #expect(kernel.calls.isEmpty)
    }

    @Test func `a filter that the kernel does not replace is unpatchable and nothing is attached beside it`() throws {
        let kernel = InMemoryBPF([denying, denying]) { $0.invalid = [1] }
        let unpatchable = try patch(kernel)
        #expect(unpatchable.map(\.id) == [1])
        #expect(unpatchable.map(\.reason.code) == [EINVAL])
        #expect(kernel.calls == ["replace"])
        #expect(kernel.fewest == 2)
    }

    @Test(arguments: [0, BPF_F_ALLOW_OVERRIDE])
    func `a single filter is replaced with the flags it has`(flags: UInt32) throws {
        let kernel = InMemoryBPF([denying]) { $0.flags = flags }
        #expect(try patch(kernel).isEmpty)
        #expect(kernel.allows(tpm))
        #expect(kernel.calls == ["attach"])
    }

    @Test func `a race is run again`() throws {
        let kernel = InMemoryBPF([denying]) { $0.races = 20 }
        #expect(try patch(kernel).isEmpty)
        #expect(kernel.allows(tpm))
    }

    @Test func `a filter that a link holds is unpatchable and the others are extended`() throws {
        let kernel = InMemoryBPF([denying, denying]) { $0.linked = [1] }
        let unpatchable = try patch(kernel)
        #expect(unpatchable.map(\.id) == [1])
        #expect(unpatchable.map(\.reason.code) == [ENOENT])
        #expect(kernel.calls == ["replace"])
    }

    @Test func `a hidden filter is unpatchable and the error names the sysctl`() throws {
        let kernel = InMemoryBPF([[], denying])
        let unpatchable = try patch(kernel)
        #expect(unpatchable.map(\.id) == [1])
        #expect(unpatchable.allSatisfy { $0.reason.hint?.contains("net.core.bpf_jit_harden") == true })
    }

    @Test(
        arguments: [
            (
                "0: (b7) r0 = 2\nAt program exit the register R0 has value\nprocessed 2 insns (limit 1000000)\n",
                "At program exit the register R0 has value"
            ),
            ("processed 2 insns\n", nil),
            ("", nil),
            (String(repeating: "x", count: 500), String(repeating: "x", count: 200)),
        ] as [(String, String?)]
    )
    func `the verifier's last words are its reason`(log: String, reason: String?) {
        #expect(KernelBPF.reason(inLog: log) == reason)
    }
}
