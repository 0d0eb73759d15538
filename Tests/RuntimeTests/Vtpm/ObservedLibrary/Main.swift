import CLibCrypto
import CLibTPMS
import Glibc
import Platform
import RuntimeControl
import RuntimeWorker

/// A worker that tells which commands its libtpms has executed, and when: a fixture for what a TPM does by itself.
///
/// All that libtpms does is real. `hold N` has each of the first N tests of one algorithm wait for a command, which it
/// asks for with one byte in place of an answer, so that the order of tests and commands does not depend on the time. `break`
/// gives libtpms another cipher where it asks for Camellia, so that its own self-test finds that it fails. `refuse N` answers each
/// command of the code N with TPM_RC_NV_SPACE.
@main
struct Main {
    /// A TPM2_GetRandom of so many bytes asks for the record: for each command its code and, of a test, the algorithm.
    static let recordOrder: UInt16 = 0xb000
    static let recordLimit = 2000

    nonisolated(unsafe) static var record: [UInt16] = []
    nonisolated(unsafe) static var held = 0
    nonisolated(unsafe) static var isBroken = false
    nonisolated(unsafe) static var refused: UInt16?
    /// The numbers that were open from the start: the channel, and `/dev/null`, which is always readable.
    static let inherited = (CInt(0)..<32).filter { fcntl($0, F_GETFD) >= 0 }

    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        if arguments.first == "hold" { held = arguments.last.flatMap { Int($0) } ?? 0 }
        isBroken = arguments.first == "break"
        if arguments.first == "refuse" { refused = arguments.last.flatMap { UInt16($0) } }
        // Found and made while that can still be done.
        record.reserveCapacity(recordLimit)
        _ = (libraryProcess, libraryCamellia, inherited)
        do throws(Failure) {
            try Worker(channel: Channel(owning: Descriptor(owning: 3), peer: "supervisor")).run()
        } catch {
            exit(1)
        }
    }

    /// Asks for a command, and waits until it is there.
    ///
    /// Of the descriptors that the worker has got since, only the device's can be written to.
    static func awaitCommand() {
        var byte: UInt8 = 1
        var descriptors: [pollfd] = []
        for number in CInt(0)..<32 where !inherited.contains(number) && write(number, &byte, 1) == 1 {
            descriptors.append(pollfd(fd: number, events: Int16(POLLIN), revents: 0))
        }
        _ = poll(&descriptors, nfds_t(descriptors.count), 60_000)
    }
}

private func number(_ command: UnsafeMutablePointer<UInt8>, _ offset: Int) -> UInt16 {
    UInt16(command[offset]) << 8 | UInt16(command[offset + 1])
}

private func symbol<Function>(_ name: String, in library: String, _ type: Function.Type) -> Function? {
    guard let library = dlopen(library, RTLD_NOW | RTLD_NOLOAD), let symbol = dlsym(library, name) else { return nil }
    return unsafeBitCast(symbol, to: type)
}

private typealias Process =
    @convention(c) (
        UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?, UnsafeMutablePointer<UInt32>?,
        UnsafeMutablePointer<UInt32>?, UnsafeMutablePointer<UInt8>?, UInt32
    ) -> TPM_RESULT

private let libraryProcess = symbol("TPMLIB_Process", in: "libtpms.so.0", Process.self)
private let libraryCamellia = symbol(
    "EVP_camellia_128_cfb128",
    in: "libcrypto.so.3",
    (@convention(c) () -> OpaquePointer?).self
)

@_cdecl("EVP_camellia_128_cfb128")
func camellia() -> OpaquePointer? { Main.isBroken ? EVP_aes_128_cfb128() : libraryCamellia?() }

@_cdecl("TPMLIB_Process")
func process(
    _ answer: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?,
    _ size: UnsafeMutablePointer<UInt32>?,
    _ capacity: UnsafeMutablePointer<UInt32>?,
    _ command: UnsafeMutablePointer<UInt8>?,
    _ count: UInt32
) -> TPM_RESULT {
    guard let libraryProcess else { return TPM_RESULT(TPM_FAIL) }
    guard let command, count >= 10 else { return libraryProcess(answer, size, capacity, command, count) }
    let code = number(command, 8)
    let isRecordOrder = code == 0x17b && count == 12 && number(command, 10) == Main.recordOrder
    let isTest = code == 0x142 && count == 16
    if isTest, Main.held > 0 {
        Main.held -= 1
        Main.awaitCommand()
    }
    if !isRecordOrder, Main.record.count < Main.recordLimit {
        Main.record += [code, isTest ? number(command, 14) : 0]
    }
    let result = libraryProcess(answer, size, capacity, command, count)
    if code == Main.refused, result == 0, let buffer = answer?.pointee, let size {
        let response: [UInt8] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x4b]
        for (index, byte) in response.enumerated() { buffer[index] = byte }
        size.pointee = UInt32(response.count)
    }
    guard isRecordOrder, result == 0, let buffer = answer?.pointee, let size, let capacity else { return result }
    let total = 10 + 2 * Main.record.count
    guard total <= capacity.pointee else { return TPM_RESULT(TPM_FAIL) }
    let header: [UInt8] = [0x80, 0x01, 0, 0, UInt8(total >> 8), UInt8(total & 0xff), 0, 0, 0, 0]
    for (index, byte) in header.enumerated() { buffer[index] = byte }
    for (index, value) in Main.record.enumerated() {
        buffer[10 + 2 * index] = UInt8(value >> 8)
        buffer[11 + 2 * index] = UInt8(value & 0xff)
    }
    size.pointee = UInt32(total)
    return result
}
