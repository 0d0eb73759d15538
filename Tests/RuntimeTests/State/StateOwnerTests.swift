import CLinux
import Glibc
import Platform
import Testing

@testable import RuntimeState

// States whose owner or mode is not root's.
extension StateStoreTests {
    // MARK: - owner and mode

    /// A supervisor has no CAP_DAC_OVERRIDE: what the caller may open here, it may not.
    @Test(.enabled(if: geteuid() == 0, "needs root"), arguments: ["", "/state", "/lock"])
    func aStateOfAnotherUserIsRefusedAndNamed(file: String) throws {
        try store("one")
        try #require(chown("\(temporary.path)/states/web\(file)", 1000, gid_t.max) == 0)
        let line = try refusal()
        let path = "\(temporary.path)/states/web"
        #expect(line.hasPrefix("cannot use the state \(path): "), "\(line)")
        let subject = file.isEmpty ? "its directory" : path + file
        #expect(line.contains(": \(subject) belongs to user 1000 (chown -R root: \(path) "), "\(line)")
        try #require(chown("\(path)\(file)", 0, gid_t.max) == 0)
        #expect(try load() == "one")
    }

    @Test(arguments: [("", 0o500, "0500, without all of 0700"), ("/state", 0o400, "0400, without all of 0600")])
    func aModeThatKeepsRootOutIsRefused(file: String, mode: mode_t, reason: String) throws {
        try store("one")
        try #require(chmod("\(temporary.path)/states/web\(file)", mode) == 0)
        let line = try refusal()
        #expect(line.contains("has the mode \(reason) (chown -R root: "), "\(line)")
        #expect(line.contains("&& chmod 0700 "), "\(line)")
    }

    /// What a backup that keeps no modes makes of it.
    @Test func aModeThatLetsOthersReadIsNoReason() throws {
        try store("one")
        try #require(chmod("\(temporary.path)/states/web", 0o755) == 0)
        try #require(chmod("\(temporary.path)/states/web/state", 0o644) == 0)
        #expect(try load() == "one")
    }
}
