import Glibc
import Platform
import RuntimeControl
import Testing

@testable import OCIHook

/// A bundle whose `config.json` is exchanged, and gets its own back.
@Suite final class BundleDirectoryTests {
    private let folder: ScratchFolder
    private let bundle: BundleDirectory
    private static let original = "{ \"a\" : 1 }\n"
    private static let other = ".config.json.container-vtpm"
    private let prepared: String

    init() throws {
        folder = try ScratchFolder()
        bundle = try BundleDirectory(folder.path)
        prepared = try PreparedConfigTests.edited(Self.original)
        try folder.write("config.json", Self.original)
    }

    private func read(_ name: String) throws -> String {
        String(
            decoding: try Descriptor.open("\(folder.path)/\(name)", .read).readAll(limit: 1 << 20, name),
            as: UTF8.self
        )
    }

    private func names() throws -> [String] { try entries(of: .open(folder.path, .directory), folder.path).sorted() }

    private func status(_ name: String) throws -> stat {
        var status = stat()
        try #require(lstat("\(folder.path)/\(name)", &status) == 0)
        return status
    }

    private func exchange(from text: String? = nil, whenWritten: () -> Void = {}) throws(Failure) {
        let text = text ?? Self.original
        try bundle.exchange(Array(text.utf8), for: Array(prepared.utf8), whenWritten: whenWritten)
    }

    private var changed: Failure {
        Failure(
            "cannot change \(folder.path)/config.json",
            because: "somebody else changes it",
            hint: "create the container again"
        )
    }

    @Test func `the very same file comes back`() throws {
        let path = "\(folder.path)/config.json"
        if geteuid() == 0 { #expect(chown(path, 1234, 5678) == 0) }
        #expect(chmod(path, 0o640) == 0)
        #expect(
            utimensat(AT_FDCWD, path, [timespec(tv_sec: 7, tv_nsec: 9), timespec(tv_sec: 8, tv_nsec: 123)], 0) == 0
        )
        let before = try status("config.json")
        try exchange()
        #expect(try read("config.json") == prepared)
        #expect(try names() == [Self.other, "config.json"])
        let between = try status("config.json")
        #expect(between.st_ino != before.st_ino)
        #expect((between.st_uid, between.st_gid, between.st_mode) == (before.st_uid, before.st_gid, before.st_mode))
        #expect(try bundle.restore())
        let after = try status("config.json")
        #expect((after.st_ino, after.st_mtim.tv_sec, after.st_mtim.tv_nsec) == (before.st_ino, 8, 123))
        #expect((after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode))
        #expect(try read("config.json") == Self.original)
        #expect(try names() == ["config.json"])
        #expect(try !bundle.restore())
    }

    @Test(arguments: [true, false])
    func `a link is not followed`(isRead: Bool) throws {
        #expect(rename("\(folder.path)/config.json", "\(folder.path)/target") == 0)
        #expect(symlink("target", "\(folder.path)/config.json") == 0)
        if isRead {
            let error = #expect(throws: Failure.self) { try bundle.readConfig() }
            #expect(error?.code == ELOOP)
        } else {
            let why = "it is no regular file of the bundle's own"
            #expect(throws: Failure("cannot change \(folder.path)/config.json", because: why)) { try exchange() }
        }
        #expect(try read("target") == Self.original)
        #expect(try names() == ["config.json", "target"])
        #expect(try status("config.json").st_mode & S_IFMT == S_IFLNK)
    }

    @Test func `what is no file is refused`() throws {
        #expect(unlink("\(folder.path)/config.json") == 0)
        let why = "it is no regular file of the bundle's own"
        #expect(throws: Failure("cannot change \(folder.path)/config.json", because: why)) { try exchange() }
        #expect(mkfifo("\(folder.path)/config.json", 0o600) == 0)
        #expect(throws: Failure("cannot change \(folder.path)/config.json", because: why)) { try exchange() }
        #expect(throws: Failure.self) { try bundle.readConfig() }
        #expect(try names() == ["config.json"])
    }

    @Test func `contents that are not those that were read are noticed`() throws {
        #expect(throws: changed) { try exchange(from: "{}") }
        #expect(try names() == ["config.json"])
        #expect(try read("config.json") == Self.original)
    }

    /// Somebody writes the file, or puts another in its place, in the moment before the exchange.
    @Test(arguments: [true, false])
    func `a change in the midst is noticed`(isReplaced: Bool) throws {
        #expect(throws: changed) {
            try exchange { [folder] in
                if isReplaced { unlink("\(folder.path)/config.json") }
                try? folder.write("config.json", "{\"new\":true}")
            }
        }
        #expect(try read("config.json") == "{\"new\":true}")
        #expect(try names() == ["config.json"])
    }

    @Test func `a file that vanishes in the midst is missed`() throws {
        let error = #expect(throws: Failure.self) { try exchange { [folder] in unlink("\(folder.path)/config.json") } }
        #expect(error?.code == ENOENT)
        #expect(try names() == [])
    }

    /// It may be the only copy of the original.
    @Test func `a leftover is not overwritten`() throws {
        try folder.write(Self.other, "{}")
        let error = #expect(throws: Failure.self) { try exchange() }
        #expect(error?.code == EEXIST)
        #expect(try read(Self.other) == "{}")
        #expect(try read("config.json") == Self.original)
    }

    @Test func `a config.json that somebody else has put there stays`() throws {
        try exchange()
        #expect(unlink("\(folder.path)/config.json") == 0)
        try folder.write("config.json", "{\"new\":true}")
        #expect(try !bundle.restore())
        #expect(try read("config.json") == "{\"new\":true}")
        #expect(try names() == ["config.json"])
    }

    /// It cannot be told whose that is, so that nothing goes.
    @Test func `a config.json that makes no sense stays, and the leftover too`() throws {
        try exchange()
        try folder.write("config.json", "{")
        #expect(throws: Failure.self) { try bundle.restore() }
        #expect(try read("config.json") == "{")
        #expect(try read(Self.other) == Self.original)
    }

    @Test func `a config.json that is gone comes back`() throws {
        try exchange()
        #expect(unlink("\(folder.path)/config.json") == 0)
        #expect(try bundle.restore())
        #expect(try read("config.json") == Self.original)
        #expect(try names() == ["config.json"])
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give a file away"))
    func `another user's file is no original`() throws {
        try exchange()
        #expect(chown("\(folder.path)/\(Self.other)", 1234, 1234) == 0)
        let why = "\(Self.other) beside it belongs to another user"
        #expect(throws: Failure("cannot put back \(folder.path)/config.json", because: why)) { try bundle.restore() }
        #expect(try read("config.json") == prepared)
        #expect(try names() == [Self.other, "config.json"])
    }

    @Test func `a link in the original's place is no original`() throws {
        try exchange()
        #expect(rename("\(folder.path)/\(Self.other)", "\(folder.path)/aside") == 0)
        #expect(symlink("aside", "\(folder.path)/\(Self.other)") == 0)
        #expect(try !bundle.restore())
        #expect(try read("config.json") == prepared)
    }

    /// The directory is what was opened, whatever its path leads to by now.
    @Test func `a bundle that is moved is followed`() throws {
        let moved = "\(folder.path).moved"
        #expect(rename(folder.path, moved) == 0)
        defer { rename(moved, folder.path) }
        try exchange()
        #expect(access("\(moved)/\(Self.other)", F_OK) == 0)
        #expect(try bundle.restore())
    }

    // MARK: - The lock

    private func openRun() throws -> Descriptor { try openOwnDirectory("\(folder.path)/run") }

    @Test func `two creations cannot use one bundle`() throws {
        let run = try openRun()
        let again = try BundleDirectory(folder.path)
        try folder.write("other/config.json", "{}")
        let other = try BundleDirectory("\(folder.path)/other")
        let first = try BundleLock.tryTake(of: bundle, in: run)
        guard let first else { throw Failure("no", because: "lock") }
        let second = try BundleLock.tryTake(of: again, in: run)
        if case .some = second { Issue.record("two have the lock") }
        if case .none = try BundleLock.tryTake(of: other, in: run) { Issue.record("another bundle is locked as well") }
        let gone = Failure("cannot go on", because: "the runtime is gone")
        #expect(throws: gone) {
            _ = try BundleLock(of: again, in: run, checkCancellation: { () throws(Failure) in throw gone })
        }
        first.release()
        // A program that another test starts has a copy of the descriptor until it is executed.
        let third = try BundleLock(of: again, in: run, checkCancellation: { () throws(Failure) in })
        third.release()
        #expect(try entries(of: run, "run") == [".bundles"])
    }

    @Test func `a bundle that is in use keeps its config.json`() throws {
        let run = try openRun()
        try exchange()
        let lock = try BundleLock(of: bundle, in: run, checkCancellation: { () throws(Failure) in })
        #expect(try !BundleDirectory(folder.path).restoreUnlessUsed(in: run))
        #expect(try read("config.json") == prepared)
        lock.release()
        // A program that another test starts has a copy of the descriptor until it is executed.
        let deadline = Deadline(milliseconds: 60_000)
        while try !BundleDirectory(folder.path).restoreUnlessUsed(in: run) { try #require(!deadline.hasPassed) }
        #expect(try read("config.json") == Self.original)
        // The lock was given back.
        let again = try BundleLock(of: bundle, in: run, checkCancellation: { () throws(Failure) in })
        again.release()
    }
}
