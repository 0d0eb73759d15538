import Platform
import RuntimeHostTPM
import VTPMProxy

/// The TPMs that the host has already.
enum TPMChecks {
    /// The host's own TPMs, and the numbers that the next vTPM gets.
    static func numbers(_ host: Host) throws(Failure) -> Finding {
        let chips = try TPMChip.all(sys: "\(host.root)/sys")
        let own = chips.filter { $0.isHardware }.map { "tpm\($0.number)" }
        let devices = try host.bytes("/proc/devices") ?? []
        guard let next = try Registration.next(devices: devices, sysfs: "\(host.root)/sys") else {
            return .ok("the kernel's TPM driver is not loaded yet")
        }
        let numbers = "the next vTPM is tpm\(next.number), \(next.tpm) and \(next.tpmrm)"
        guard !own.isEmpty else {
            return .note(
                "this host has no TPM of its own: programs of the host that look for one find a container's; \(numbers)",
                remedy: "name no /dev/tpm0 and no tpm2-device=auto in the host's own configuration"
            )
        }
        return .ok("\(own.joined(separator: ", ")) of the host's own; \(numbers)")
    }

    /// Whether the host takes its hardware random numbers from a container's TPM.
    static func randomSource(_ host: Host) throws(Failure) -> Finding {
        let source = RandomSource(sysfs: "\(host.root)/sys")
        let attribute = "/sys/class/misc/hw_random/rng_current"
        guard let current = try source.current() else { return .ok("the kernel has no hardware random numbers") }
        let alternatives = try source.alternatives()
        guard let number = try source.currentVTPM() else {
            if current == "none", let real = alternatives.first, real != "none" {
                return .note("no source is selected, and there is \(real)", remedy: "echo \(real) >\(attribute)")
            }
            return .ok(current)
        }
        let found = "\(current): /dev/hwrng gives what the program behind the vTPM tpm\(number) says"
        if let other = alternatives.first { return .problem(found, remedy: "echo \(other) >\(attribute)") }
        if try source.quality() ?? 0 != 0 {
            return .problem(found, remedy: "echo 0 >/sys/class/misc/hw_random/rng_quality")
        }
        return .note(
            "\(found); it counts for nothing, and this kernel cannot do without a source",
            remedy: "let nothing on this host read /dev/hwrng, such as rngd"
        )
    }
}
