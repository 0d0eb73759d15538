import CLinux
import Configuration
import Glibc
import Platform
import RuntimeKeys
import Testing

@testable import RuntimeState

@Suite struct KeyFileTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
        _ = try temporary.directory("keys")
    }

    func load(isFirstUse: Bool = true) throws -> MasterKey {
        var configuration = Configuration()
        configuration.key = .file(path: "\(temporary.path)/keys/master.key")
        return try MasterKeyProvider(configuration, keysPath: "\(temporary.path)/keys", credentialsDirectory: nil)
            .load(isFirstUse: isFirstUse).current
    }

    func refusal(isFirstUse: Bool = true) throws -> String {
        let before = try? temporary.read("keys/master.key")
        let error = #expect(throws: Failure.self) { try load(isFirstUse: isFirstUse) }
        #expect((try? temporary.read("keys/master.key")) == before)
        return error?.description ?? ""
    }

    @Test func isMadeAtFirstUseAndKept() throws {
        let first = try load()
        let file = try temporary.read("keys/master.key")
        let second = try load()
        #expect(first.id == second.id)
        #expect(first.key.withBytes { Array($0) } == second.key.withBytes { Array($0) })
        #expect(try temporary.read("keys/master.key") == file)
        #expect(try entries(of: temporary.directory("keys"), "") == ["master.key"])
        var status = stat()
        try #require(stat("\(temporary.path)/keys/master.key", &status) == 0)
        #expect(status.st_mode & 0o7777 == 0o600)
    }

    @Test func noTwoAreAlike() throws {
        let first = try load()
        unlink("\(temporary.path)/keys/master.key")
        #expect(try load().id != first.id)
    }

    @Test func itsIDGivesNothingAway() throws {
        let key = try load()
        #expect(!key.key.withBytes { $0.starts(with: key.id) })
    }

    @Test func aLostKeyIsNotReplacedWhereStatesNeedIt() throws {
        #expect(try refusal(isFirstUse: false).contains("it is missing, and the states on this host need it"))
        #expect(!temporary.exists("keys/master.key"))
    }

    @Test func othersMustNotReadIt() throws {
        _ = try load()
        chmod("\(temporary.path)/keys/master.key", 0o640)
        #expect(
            try refusal().hasSuffix(
                "others may read or change it: its mode is 0640 (chmod 0600 \(temporary.path)/keys/master.key)"
            )
        )
    }

    /// Where the mode is right, to set it does not help.
    @Test func whoseItIsIsSaid() throws {
        _ = try load()
        try #require(chown("\(temporary.path)/keys/master.key", 1000, 1000) == 0)
        let text = try refusal()
        #expect(text.contains("it belongs to user 1000"))
        #expect(text.contains("(chown \(geteuid()) \(temporary.path)/keys/master.key && chmod 0600"))
    }

    @Test func whatIsNoFileIsSaid() throws {
        let path = "\(temporary.path)/keys/master.key"
        _ = try temporary.directory("keys/master.key")
        #expect(try refusal().hasSuffix("it is a directory"))
        rmdir(path)
        // Nobody writes to it, and nobody waits for that.
        try #require(mkfifo(path, 0o600) == 0)
        let error = #expect(throws: Failure.self) { try load() }
        #expect(error?.description.hasSuffix("it is no regular file") == true)
        unlink(path)
        try #require(symlink("elsewhere.key", path) == 0)
        #expect(try refusal().hasSuffix("it is a symbolic link (name the file that it leads to)"))
    }

    @Test func everyFlippedBitAndEveryTruncationIsSeen() throws {
        _ = try load()
        let good = try temporary.read("keys/master.key")
        for index in good.indices {
            var damaged = good
            damaged[index] ^= 0x10
            try temporary.write("keys/master.key", damaged)
            #expect(throws: Failure.self) { try load() }
        }
        for count in 0..<good.count {
            try temporary.write("keys/master.key", Array(good[..<count]))
            #expect(throws: Failure.self) { try load() }
        }
        try temporary.write("keys/master.key", good + [0])
        #expect(throws: Failure.self) { try load() }
        // It was the contents, and nothing else about the file.
        try temporary.write("keys/master.key", good)
        _ = try load()
    }
}
