import CLinux
import CryptoDigests
import Foundation
import Glibc
import Platform
import Testing

@testable import Launch

/// The digest of a root file system's tree.
final class TreeDigestTests {
    private let root: String

    init() throws {
        root = FileManager.default.temporaryDirectory.appendingPathComponent("tree-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: root + "/usr/bin", withIntermediateDirectories: true)
        try write("usr/bin/app", "program")
        try FileManager.default.createSymbolicLink(atPath: root + "/bin", withDestinationPath: "usr/bin")
        try require(mkfifo(root + "/usr/pipe", 0o600) == 0)
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    private func require(_ condition: Bool) throws { try #require(condition) }

    private func write(_ path: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(root)/\(path)"))
        try require(chmod("\(root)/\(path)", 0o755) == 0)
    }

    private func digest(mounts: [String] = []) throws -> [UInt8] {
        try TreeDigest.digest(of: root, mounts.map { MountDestination($0) })
    }

    /// What the documentation says is what is computed.
    @Test func theRecordsAreThoseOfTheDocumentation() throws {
        var records: [UInt8] = []
        func add(_ fields: [String]) { for field in fields { records += Array(field.utf8) + [0] } }
        func attributes(_ path: String) throws -> String {
            var status = stat()
            try require(lstat("\(root)/\(path)", &status) == 0)
            return "\(String(status.st_mode & 0o7777, radix: 8)) \(status.st_uid) \(status.st_gid)"
        }
        let content = try DigestAlgorithm.sha256.digest(Array("program".utf8)).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
        add(["d \(try attributes(""))", "", "", ""])
        add(["l \(try attributes("bin"))", "bin", "usr/bin", ""])
        add(["d \(try attributes("usr"))", "usr", "", ""])
        add(["d \(try attributes("usr/bin"))", "usr/bin", "", ""])
        add(["f \(try attributes("usr/bin/app"))", "usr/bin/app", content, ""])
        add(["p \(try attributes("usr/pipe"))", "usr/pipe", "", ""])
        #expect(try digest() == DigestAlgorithm.sha256.digest(records))
        // A mount comes before all, and what it covers is left out.
        records = Array("m\0usr\0\0\0".utf8)
        add(["d \(try attributes(""))", "", "", ""])
        add(["l \(try attributes("bin"))", "bin", "usr/bin", ""])
        #expect(try digest(mounts: ["/usr"]) == DigestAlgorithm.sha256.digest(records))
    }

    /// An image cannot have a link below a mount that hides what lies elsewhere: nothing of the image is seen there.
    @Test func linksBelowAnEarlierMountLeadNowhere() throws {
        let mounts = ["/dev", "/dev/shm", "/dev/mqueue"]
        try FileManager.default.createDirectory(atPath: root + "/dev", withIntermediateDirectories: true)
        try FileManager.default.createDirectory(atPath: root + "/etc", withIntermediateDirectories: true)
        let good = try digest(mounts: mounts)
        try write("etc/ld.so.preload", "/usr/lib/evil.so")
        let evil = try digest(mounts: mounts)
        #expect(evil != good)
        try require(
            symlink("/etc/ld.so.preload", root + "/dev/shm") == 0 && symlink("/usr/bin", root + "/dev/mqueue") == 0
        )
        #expect(try digest(mounts: mounts) == evil)
        // Where the mount below comes first, its link is followed, and the record of the mount says so.
        let reversed = try digest(mounts: mounts.reversed())
        #expect(try reversed == digest(mounts: ["/usr/bin", "/etc/ld.so.preload", "/dev"]) && reversed != evil)
    }

    /// Of crun's: a mount on a link itself, and one that is none.
    @Test func crunsOptionsCoverWhatTheySay() throws {
        func content(_ options: String) throws -> RootContent {
            let config = #"{"root":{"path":"\#(root)"},"mounts":[{"destination":"/bin","options":[\#(options)]}]}"#
            return try .find(.tree, of: Array(config.utf8), path: "it", bundle: "/none")
        }
        #expect(try content("\"copy-symlink\"") == .tree(digest()))
        let (followed, own) = (try content(""), try content("\"dest-nofollow\""))
        #expect(followed != own)
        try write("usr/bin/app", "another")
        #expect(try content("") == followed)
        #expect(try content("\"dest-nofollow\"") != own)
    }

    /// A tree takes its time, and who has asked for it may be gone.
    @Test func itEndsIfItIsToldTo() throws {
        var calls = 0
        let failure = #expect(throws: Failure.self) {
            try TreeDigest.digest(of: root, []) { () throws(Failure) in
                calls += 1
                if calls == 3 { throw Failure("no", because: "more") }
            }
        }
        #expect(failure?.description == "no: more" && calls == 3)
    }

    /// A file can have any size without taking any room.
    @Test func aTreeThatIsTooLargeIsRefused() throws {
        try write("other", "0123456789")
        // Both files have 17 bytes.
        _ = try TreeDigest.digest(of: root, [], limit: 17)
        let failure = #expect(throws: Failure.self) { try TreeDigest.digest(of: root, [], limit: 16) }
        #expect(
            failure?.description
                == "cannot measure the container's root file system: its files have more bytes than are read"
        )
    }

    /// An ACL lets others in whom the mode does not name.
    @Test func anACLCounts() throws {
        let before = try digest()
        // Version 2; the owner, user 1000, the group, the mask, others: tag, permissions, ID.
        var acl: [UInt8] = [2, 0, 0, 0]
        for (tag, permissions, id) in [
            (1, 7, UInt32.max), (2, 7, 1000), (4, 5, .max), (0x10, 7, .max), (0x20, 5, .max),
        ] {
            acl += [UInt8(tag), 0, UInt8(permissions), 0] + (0..<4).map { UInt8(id >> (8 * UInt32($0)) & 0xff) }
        }
        let file = open(root + "/usr/bin/app", O_RDONLY)
        defer { close(file) }
        guard fsetxattr(file, "system.posix_acl_access", acl, acl.count, 0) == 0 else {
            try require(errno == EOPNOTSUPP)
            return
        }
        #expect(try digest() != before)
    }

    @Test func eachChangeOfTheTreeIsAnother() throws {
        let before = try digest()
        var seen: Set<[UInt8]> = [before]
        func expectAnother(_ what: String) throws { #expect(seen.insert(try digest()).inserted, "\(what)") }
        try write("usr/bin/app", "prograM")
        try expectAnother("a byte of a file")
        try require(chmod(root + "/usr/bin/app", 0o4755) == 0)
        try expectAnother("a mode")
        try write("usr/bin/app2", "")
        try expectAnother("a new file")
        try require(rename(root + "/usr/bin/app2", root + "/usr/bin/app3") == 0)
        try expectAnother("a name")
        try require(unlink(root + "/bin") == 0 && symlink("usr/sbin", root + "/bin") == 0)
        try expectAnother("a link's target")
        if geteuid() == 0 {
            try require(chown(root + "/usr/bin/app", 1, 0) == 0)
            try expectAnother("an owner")
        }
    }

    /// A time is no part of it, and a name need not be UTF-8.
    @Test func timesDoNotCount() throws {
        let name = [CChar](root.utf8CString.dropLast()) + [0x2f, -1, 0x61, 0]
        let file = open(name, O_CREAT | O_WRONLY, 0o600)
        try require(file >= 0)
        close(file)
        let before = try digest()
        try require(utimes(root + "/usr/bin/app", nil) == 0)
        #expect(try digest() == before)
    }

    /// A runtime makes what it mounts on where it is missing: the tree is the same before and after.
    @Test func whatIsMadeForMountsDoesNotCount() throws {
        let mounts = ["/proc", "/dev/", "//etc/./hosts", "/run/secrets/token"]
        let before = try digest(mounts: mounts)
        for path in ["proc", "dev/pts", "etc", "run/secrets/token"] {
            try FileManager.default.createDirectory(atPath: "\(root)/\(path)", withIntermediateDirectories: true)
        }
        try write("etc/hosts", "127.0.0.1")
        #expect(try digest(mounts: mounts) == before)
        // But what is beside them does.
        try write("etc/passwd", "root")
        #expect(try digest(mounts: mounts) != before)
        try require(unlink(root + "/etc/passwd") == 0)
        try write("run/secrets/other", "")
        #expect(try digest(mounts: mounts) != before)
    }

    /// A mount is where the links of the tree lead, and a link itself is part of the tree.
    @Test func destinationsAreWhereLinksLead() throws {
        try FileManager.default.createDirectory(atPath: root + "/run", withIntermediateDirectories: true)
        try require(symlink("/run", root + "/var-run") == 0 && symlink("usr/bin", root + "/data") == 0)
        // What the runtime makes for a mount below a link.
        let mounts = ["/var-run/secrets/token"]
        let before = try digest(mounts: mounts)
        try FileManager.default.createDirectory(atPath: root + "/run/secrets/token", withIntermediateDirectories: true)
        #expect(try digest(mounts: mounts) == before)
        // A link at a destination counts, and what it leads to is covered.
        let covered = try digest(mounts: ["/data"])
        try write("usr/bin/app", "other")
        #expect(try digest(mounts: ["/data"]) == covered)
        try require(unlink(root + "/data") == 0 && symlink("usr", root + "/data") == 0)
        #expect(try digest(mounts: ["/data"]) != covered)
    }

    @Test func linksWithoutAnEndAreRefused() throws {
        try require(symlink("loop", root + "/loop") == 0)
        let failure = #expect(throws: Failure.self) { try digest(mounts: ["/loop/x"]) }
        #expect(failure?.description.contains("there are too many links at the destination /loop/x of a mount") == true)
    }

    @Test func aDestinationThatIsTooLongIsRefused() throws {
        let failure = #expect(throws: Failure.self) { try digest(mounts: [String(repeating: "/a", count: 10_000)]) }
        #expect(failure?.description.contains("is longer than a path can be") == true)
    }

    /// `..` leads no further than to the root.
    @Test func destinationsStayInTheRoot() throws {
        let before = try digest(mounts: ["/usr/bin"])
        #expect(try digest(mounts: ["/../../usr/./x/../bin/"]) == before)
    }

    /// A tmpfs that begins with what the image has there covers nothing.
    @Test func whatIsCopiedUpIsMeasured() throws {
        func content(_ options: String) throws -> RootContent {
            let config = #"{"root":{"path":"\#(root)"},"mounts":[{"destination":"/usr","options":[\#(options)]}]}"#
            return try .find(.tree, of: Array(config.utf8), path: "it", bundle: "/none")
        }
        let (covered, copied) = (try content("\"nosuid\""), try content("\"nosuid\",\"tmpcopyup\""))
        #expect(covered != copied)
        #expect(try copied == .tree(digest()))
    }

    /// A link with the name of a directory is not followed.
    @Test func linksAreNotFollowed() throws {
        try require(symlink("/proc", root + "/elsewhere") == 0)
        _ = try digest()
    }

    @Test func aTreeThatIsTooDeepIsRefused() throws {
        var path = root
        for _ in 0..<300 {
            path += "/d"
            try require(mkdir(path, 0o755) == 0)
        }
        let failure = #expect(throws: Failure.self) { try digest() }
        #expect(
            failure?.description
                == "cannot measure the container's root file system: it is more than 256 directories deep"
        )
    }

    @Test func aRootThatIsNotThereIsAnError() throws {
        let failure = #expect(throws: Failure.self) { try TreeDigest.digest(of: root + "/none", []) }
        #expect(failure?.code == ENOENT)
    }
}
