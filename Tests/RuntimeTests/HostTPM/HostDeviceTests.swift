import CLinux
import Glibc
import Platform
import Testing

@testable import RuntimeHostTPM

@Suite struct HostDeviceTests {
    let temporary: TemporaryDirectory
    var sys: String { "\(temporary.path)/sys" }

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// A chip in the test's sysfs, with the kernel's numbers.
    func addChip(
        _ number: Int,
        isHardware: Bool,
        version: Int? = 2,
        device: String? = nil,
        resourceManager: String? = nil
    ) throws {
        let base = "sys/class/tpm/tpm\(number)"
        _ = try temporary.directory(base)
        if isHardware {
            _ = try temporary.directory("\(base)/device")
        } else {
            _ = try temporary.directory("sys/devices/virtual/tpm/tpm\(number)")
        }
        if let version { try temporary.write("\(base)/tpm_version_major", Array("\(version)\n".utf8)) }
        let ownNumber = device ?? (number == 0 ? "10:224" : "251:\(number)")
        try temporary.write("\(base)/dev", Array("\(ownNumber)\n".utf8))
        guard version != 1 else { return }
        let manager = "sys/class/tpmrm/tpmrm\(number)"
        _ = try temporary.directory(manager)
        try temporary.write("\(manager)/dev", Array("\(resourceManager ?? "251:\(65536 + number)")\n".utf8))
    }

    func find(_ configured: String? = nil) throws -> String {
        try HostTPM.findDevice(configured: configured, sys: sys)
    }

    func refusal(_ configured: String? = nil) throws -> String {
        let error = #expect(throws: Failure.self) { try find(configured) }
        return error?.description ?? ""
    }

    @Test func aHostWithoutTPMHasNone() throws {
        #expect(try refusal().hasPrefix("cannot use the host's TPM: this host has no TPM (switch it on"))
        _ = try temporary.directory("sys/class/tpm")
        #expect(try refusal().hasPrefix("cannot use the host's TPM: this host has no TPM (switch it on"))
    }

    @Test(arguments: [2, nil]) func theHardwareIsFound(version: Int?) throws {
        try addChip(0, isHardware: true, version: version)
        #expect(try find() == "/dev/tpmrm0")
    }

    @Test func aVTPMIsNoTPMOfTheHost() throws {
        try addChip(0, isHardware: false)
        let what = "cannot use the host's TPM: this host has no TPM but software: "
        #expect(try refusal().hasPrefix("\(what)tpm0 is a vTPM (switch it on in the firmware"))
        try addChip(1, isHardware: false)
        #expect(try refusal().hasPrefix("\(what)tpm0, tpm1 are vTPMs ("))
        for number in 2..<5 { try addChip(number, isHardware: false) }
        #expect(try refusal().hasPrefix("\(what)tpm0, tpm1, tpm2 and others are vTPMs ("))
    }

    /// systemd can make one by the same proxy, and it is the first there is; it has the host's usual number.
    @Test func aSoftwareTPMOfTheHostIsNotTakenForHardware() throws {
        try addChip(0, isHardware: false, resourceManager: Self.nodeNumber)
        try addChip(1, isHardware: true)
        #expect(try find() == "/dev/tpmrm1")
        let text = try refusal(Self.node)
        #expect(text.contains("it is tpm0, a vTPM, and no hardware: a program answers there"))
        #expect(text.hasSuffix("(configure /dev/tpmrm1)"))
    }

    /// A chip whose device is below `devices/virtual` is software, whatever a later kernel puts beside it.
    @Test func aVirtualDeviceWithAParentIsNoHardware() throws {
        try addChip(0, isHardware: true)
        _ = try temporary.directory("sys/devices/virtual/tpm/tpm0")
        #expect(try refusal().contains("this host has no TPM but software: tpm0 is a vTPM"))
    }

    /// That it cannot be found out whether a chip is hardware does not make it software.
    @Test func whatCannotBeExaminedIsSaid() throws {
        try addChip(0, isHardware: true)
        try temporary.shell("rm -r sys/devices; touch sys/devices")
        #expect(try refusal().contains("cannot examine \(sys)/devices/virtual/tpm/tpm0: access: Not a directory"))
    }

    @Test func theHardwareIsFoundAmongVTPMs() throws {
        try addChip(0, isHardware: false)
        try addChip(1, isHardware: false)
        try addChip(12, isHardware: true)
        #expect(try find() == "/dev/tpmrm12")
    }

    @Test func oneOfTwoHasToBeConfigured() throws {
        try addChip(3, isHardware: true)
        try addChip(0, isHardware: true)
        #expect(
            try refusal()
                == "cannot use the host's TPM: this host has 2 TPMs (configure one of /dev/tpmrm0, /dev/tpmrm3)"
        )
    }

    @Test func aTPM12IsRefused() throws {
        try addChip(0, isHardware: true, version: 1)
        #expect(try refusal().hasPrefix("cannot use the host's TPM /dev/tpmrm0: tpm0 is a TPM 1.2"))
    }

    // Some character device takes the place of the TPM's: what counts is its number.
    static let node = "/dev/null"
    static let nodeNumber = "1:3"

    @Test func aConfiguredTPMIsTaken() throws {
        try addChip(0, isHardware: true)
        try addChip(1, isHardware: true, resourceManager: Self.nodeNumber)
        #expect(try find(Self.node) == Self.node)
    }

    @Test func aConfiguredVTPMIsRefused() throws {
        try addChip(0, isHardware: true)
        try addChip(1, isHardware: false, resourceManager: Self.nodeNumber)
        #expect(
            try refusal(Self.node).hasPrefix("cannot use the host's TPM /dev/null: it is tpm1, a vTPM, and no hardware")
        )
    }

    @Test func aConfiguredVTPMWithoutResourceManagerIsRefused() throws {
        try addChip(1, isHardware: false, device: Self.nodeNumber)
        #expect(try refusal(Self.node).contains("it is tpm1, a vTPM, and no hardware"))
    }

    @Test func theResourceManagerIsNeeded() throws {
        try addChip(0, isHardware: true, device: Self.nodeNumber)
        #expect(
            try refusal(Self.node)
                == "cannot use the host's TPM /dev/null: it has no resource manager (configure /dev/tpmrm0)"
        )
    }

    @Test func aConfiguredTPM12IsRefused() throws {
        try addChip(0, isHardware: true, version: 1, device: Self.nodeNumber)
        #expect(try refusal(Self.node).contains("tpm0 is a TPM 1.2"))
    }

    @Test func whatIsNoTPMIsRefused() throws {
        try addChip(0, isHardware: true)
        #expect(try refusal(Self.node).contains("it is no TPM"))
        #expect(try refusal(temporary.path).contains("it is no character device"))
        #expect(try refusal("\(temporary.path)/none").contains("stat: No such file or directory"))
    }

    struct Ends: ~Copyable {
        let transport: DeviceTransport
        let far: Descriptor
    }

    /// One end stands in for the device: a command is one message, and so is its answer.
    func device() throws -> Ends {
        var ends: [CInt] = [-1, -1]
        try systemCall("socketpair", "") { socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &ends) }
        return Ends(
            transport: DeviceTransport(Descriptor(owning: ends[0]), path: "/dev/tpmrm0"),
            far: Descriptor(owning: ends[1])
        )
    }

    @Test func aCommandIsOneWriteAndAnAnswerOneRead() throws {
        let ends = try device()
        let answer = [UInt8](repeating: 5, count: 4096)
        try ends.far.writeAll(answer, "")
        let command = [UInt8](repeating: 6, count: 3000)
        let transport = ends.transport
        #expect(try transport.transmit(command) == answer)
        var received = [UInt8](repeating: 0, count: 4096)
        let number = ends.far.number
        #expect(read(number, &received, received.count) == command.count)
        #expect(Array(received[..<command.count]) == command)
    }

    @Test func noAnswerIsAnError() throws {
        let ends = try device()
        let transport = ends.transport
        shutdown(ends.far.number, CInt(SHUT_WR))
        let error = #expect(throws: Failure.self) { try transport.transmit([1]) }
        #expect(error?.description == "cannot use the host's TPM /dev/tpmrm0: it gave no answer")
    }
}
