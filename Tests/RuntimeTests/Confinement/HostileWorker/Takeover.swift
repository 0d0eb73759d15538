import CLibTPMS
import Glibc
import RuntimeControl

/// What a worker does that was taken over by the state which it has loaded: before its container has begun.
///
/// The name of the program's file says which, since the supervisor gives a worker no arguments of its own.
enum Takeover: String, CaseIterable {
    /// Says that the TPM is ready before the host has closed the platform hierarchy.
    case earlyReady = "takeover-early-ready"
    /// Has the TPM say that it was started more often.
    case falseCounts = "takeover-false-counts"
    /// Measures another launch than the host's.
    case falseLaunch = "takeover-false-launch"

    /// That of this program; it is found before the confinement, which leaves no path.
    static let current: Takeover? = {
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        guard readlink("/proc/self/exe", &path, path.count - 1) > 0 else { return nil }
        let name = String(decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return allCases.first { name.hasSuffix("/\($0.rawValue)") }
    }()

    /// Changes what the library answers to a command.
    func change(_ code: UInt32, _ answer: UnsafeMutablePointer<UInt8>, _ size: UInt32) {
        let (startup, readClock): (UInt32, UInt32) = (0x144, 0x181)
        switch self {
        case .earlyReady where code == startup:
            Attack.tell(WorkerReply.Kind.ready.rawValue, [UInt8](repeating: 0, count: 9))
        // The lowest byte of the count of resets.
        case .falseCounts where code == readClock && size == 35: answer[29] &+= 1
        default: break
        }
    }
}

private typealias HashData = @convention(c) (UnsafePointer<UInt8>?, UInt32) -> TPM_RESULT

private let libraryHashData: HashData? = {
    guard let library = dlopen("libtpms.so.0", RTLD_NOW | RTLD_NOLOAD), let symbol = dlsym(library, "TPM_IO_Hash_Data")
    else { return nil }
    return unsafeBitCast(symbol, to: HashData.self)
}()

/// Finds what is needed while that can still be done.
func prepareTakeover() { _ = (Takeover.current, libraryHashData == nil) }

@_cdecl("TPM_IO_Hash_Data")
func hostileHashData(_ data: UnsafePointer<UInt8>?, _ count: UInt32) -> TPM_RESULT {
    guard let libraryHashData else { return TPM_RESULT(TPM_FAIL) }
    guard Takeover.current == .falseLaunch else { return libraryHashData(data, count) }
    let other: [UInt8] = Array("a better launch".utf8)
    return libraryHashData(other, UInt32(other.count))
}
