import Foundation
import Glibc
import Platform
import Testing

/// A directory in memory where there is one: what was written to it needs no disk, only its content counts.
final class ScratchDirectory {
    let path: String

    init() throws {
        let parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
        var template = Array("\(parent)/container-vtpm-test.XXXXXX".utf8CString)
        path = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }
}

/// How much is tried, and from which seed on.
enum Soak {
    /// `CONTAINER_VTPM_SOAK=1`: hours' worth of cases in place of seconds' worth.
    static let isOn = variable("CONTAINER_VTPM_SOAK") == "1"
    /// `CONTAINER_VTPM_SEED`: another one tries other cases, the same one the same.
    static let seed = variable("CONTAINER_VTPM_SEED").flatMap { UInt64($0) } ?? 1

    /// A number of cases.
    static func count(_ sample: Int, soak: Int) -> Int { isOn ? soak : sample }

    /// What a failure's message says, so that it can be repeated.
    static let hint = "CONTAINER_VTPM_SEED=\(seed)" + (isOn ? " CONTAINER_VTPM_SOAK=1" : "")

    private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
