import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimePool
import RuntimeState
import VTPMProxy

/// Test fixture: waits for the end of its standard input, claims TPMs one after the other, and writes a line for each, the
/// first bytes of its state as text.
@main struct PoolClaimer {
    static func main() {
        var byte: UInt8 = 0
        while read(STDIN_FILENO, &byte, 1) > 0 {}
        do {
            let arguments = CommandLine.arguments
            let key = try SecretBytes(capacity: MasterKey.size)
            guard key.append(copying: [UInt8](repeating: 1, count: MasterKey.size)), arguments.count == 4 else {
                exit(2)
            }
            var paths = HostPaths(below: arguments[1], programs: "")
            paths.pool = arguments[2]
            let demand = TPMPool.Demand(
                of: try HostBinding(of: paths, Configuration.HostTPM()),
                .standard,
                ring: KeyRing(try MasterKey(key))
            )
            for _ in 0..<(Int(arguments[3]) ?? 0) {
                guard let tpm = try TPMPool(paths).claim({ () throws(Failure) in demand }) else { break }
                let line = tpm.state.withBytes { Array($0.prefix(8)) } + [UInt8(ascii: "\n")]
                _ = line.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            }
        } catch {
            exit(1)
        }
    }
}
