import CLibTPMS
import Glibc
import Platform
import RuntimeControl
import RuntimeWorker

/// A worker whose TPM library the tenant has taken over: a fixture for attacks on the real confinement.
///
/// Everything but `TPMLIB_Process` is the real worker's. That function is this program's own, which the linker takes
/// before the library's: it attacks when a TPM2_GetRandom asks for a number of bytes that no TPM gives, and else does
/// what the library's does. `--list` prints the attacks, each with the reason that the supervisor
/// has to give.
@main
struct Main {
    /// TPM2_GetRandom of so many bytes and more is an order to attack.
    static let firstOrder = 0xa000

    static let orders: [(first: Int, attacks: [Attack])] = [
        (firstOrder, Attack.deadly), (0xa100, Attack.protocolViolations), (0xa200, Attack.resourceExhaustion),
        (0xa300, [Attack.spin]),
    ]

    /// The first of the attempts, each answered with a code of ``refusedCode`` and the `errno`.
    static let firstAttempt = 0xa400
    static let refusedCode: UInt32 = 0x0010_0000

    static func main() {
        if CommandLine.arguments.dropFirst().first == "--list" {
            for (first, attacks) in orders {
                for (index, attack) in attacks.enumerated() {
                    print(first + index, attack.name, attack.reason, separator: "\t")
                }
            }
            for (index, attempt) in Attempt.all.enumerated() {
                print(firstAttempt + index, attempt.name, separator: "\t")
            }
            return
        }
        // Found and made while that can still be done.
        _ = (libraryProcess, orders.count, Attempt.all.count)
        prepareTakeover()
        do throws(Failure) {
            try Worker(channel: Channel(owning: Descriptor(owning: 3), peer: "supervisor")).run()
        } catch {
            exit(1)
        }
    }
}

private typealias Process =
    @convention(c) (
        UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?, UnsafeMutablePointer<UInt32>?,
        UnsafeMutablePointer<UInt32>?, UnsafeMutablePointer<UInt8>?, UInt32
    ) -> TPM_RESULT

private let libraryProcess: Process? = {
    guard let library = dlopen("libtpms.so.0", RTLD_NOW | RTLD_NOLOAD), let symbol = dlsym(library, "TPMLIB_Process")
    else { return nil }
    return unsafeBitCast(symbol, to: Process.self)
}()

@_cdecl("TPMLIB_Process")
func hostileProcess(
    _ answer: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?,
    _ size: UnsafeMutablePointer<UInt32>?,
    _ capacity: UnsafeMutablePointer<UInt32>?,
    _ command: UnsafeMutablePointer<UInt8>?,
    _ count: UInt32
) -> TPM_RESULT {
    if let command, count == 12, command[8] == 0x01, command[9] == 0x7b {
        let order = Int(command[10]) << 8 | Int(command[11])
        for (first, attacks) in Main.orders where attacks.indices.contains(order - first) {
            attacks[order - first].run()
        }
        if Attempt.all.indices.contains(order - Main.firstAttempt) {
            let code = Attempt.all[order - Main.firstAttempt].run()
            // The library's own answer makes the room.
            let result = libraryProcess?(answer, size, capacity, command, count) ?? TPM_RESULT(TPM_FAIL)
            guard result == 0, let buffer = answer?.pointee, let size, size.pointee >= 10 else { return result }
            let header = UInt64(10) << 32 | UInt64(Main.refusedCode | UInt32(code))
            for index in 0..<8 { buffer[index + 2] = UInt8(truncatingIfNeeded: header >> UInt64(56 - index * 8)) }
            size.pointee = 10
            return result
        }
    }
    let code = command.flatMap { count >= 10 ? UInt32($0[8]) << 8 | UInt32($0[9]) : nil }
    let result = libraryProcess?(answer, size, capacity, command, count) ?? TPM_RESULT(TPM_FAIL)
    if let code, result == 0, let buffer = answer?.pointee, let size {
        Takeover.current?.change(code, buffer, size.pointee)
    }
    return result
}
