import CFuzzer

/// What is being fuzzed; a C function that is called back has no context.
nonisolated(unsafe) var chosen = FuzzTarget.worker

/// Has libFuzzer take each pair of a TPM command and its response code for a piece of code that was reached.
///
/// Debian's libtpms is not instrumented, so that libFuzzer cannot see how far a command came. The answer tells.
enum AnswerCoverage {
    private static let size = 1 << 13
    private nonisolated(unsafe) static let counters = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: size)
    private nonisolated(unsafe) static let places = UnsafeMutableBufferPointer<UInt>.allocate(capacity: 2 * size)

    static func install() {
        counters.initialize(repeating: 0)
        // libFuzzer wants an address and flags for each counter; no code lies at these.
        for index in 0..<size {
            places.initializeElement(at: 2 * index, to: UInt(index + 1))
            places.initializeElement(at: 2 * index + 1, to: 0)
        }
        __sanitizer_cov_8bit_counters_init(counters.baseAddress, counters.baseAddress.map { $0 + counters.count })
        __sanitizer_cov_pcs_init(places.baseAddress, places.baseAddress.map { $0 + places.count })
        noteAnswer = { command, code in
            // Of codes that are no command's, one is as good as another. TPM 2.0 Library, Part 2, 6.5.2
            let known = (0x11f...0x19f).contains(command) ? command : 0
            let mixed = (known &* 0x9e37_79b1) ^ (code &* 0x85eb_ca6b)
            let index = Int(mixed >> 19)
            if counters[index] < UInt8.max { counters[index] += 1 }
        }
    }
}
