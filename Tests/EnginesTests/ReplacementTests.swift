import CLinux
import Glibc
import Platform
import Testing

@testable import Engines

// What somebody else does in the last moment of a change, between our look at the file and the renaming.
extension InstallationTests {
    private typealias Step = @Sendable () -> CInt?

    /// Files of engines where a step comes before each of the first renamings; one that returns an errno is in its place.
    private func files(_ steps: Step...) -> EngineFiles {
        var files = host.files
        let rest = Steps(steps)
        files.rename = { folder, from, to, flags in
            if let code = rest.next()?() {
                errno = code
                return -1
            }
            return renameat2(folder, from, folder, to, flags)
        }
        return files
    }

    /// What is still to come in a test, which has one thread.
    private final class Steps: @unchecked Sendable {
        private var rest: ArraySlice<Step>
        init(_ steps: [Step]) { rest = steps[...] }
        func next() -> Step? { rest.popFirst() }
    }

    /// Another program that replaces a file.
    private func replacing(by text: String) -> Step {
        let path = root + Places.daemon
        return {
            if let file = try? Descriptor.open("\(path).other", OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o640))
            {
                try? file.writeAll(Array(text.utf8), path)
            }
            _ = rename("\(path).other", path)
            return nil
        }
    }

    private func found() throws -> FoundFile {
        try write(Places.daemon, "{}", mode: 0o640)
        return try #require(try host.files.read(Places.daemon))
    }

    private func expectNothingLeft() throws { #expect(try !tree().contains { $0.contains("container-vtpm.new") }) }

    @Test func `a file that comes after the last look is put back`() throws {
        let found = try found()
        let files = files(replacing(by: "{\"a\": 1}"))
        #expect(why { try files.write([0x7b, 0x7d], to: Places.daemon, replacing: found) }.contains("somebody else"))
        #expect(try text(Places.daemon) == "{\"a\": 1}")
        try expectNothingLeft()
    }

    @Test func `a file that is written over after the last look is put back`() throws {
        let (path, found) = (root + Places.daemon, try found())
        let files = files({
            if let file = try? Descriptor.open(path, OpenOptions(O_WRONLY | O_TRUNC)) {
                try? file.writeAll(Array("{\"a\": 1}".utf8), path)
            }
            return nil
        })
        #expect(why { try files.write([0x7b, 0x7d], to: Places.daemon, replacing: found) }.contains("somebody else"))
        #expect(try text(Places.daemon) == "{\"a\": 1}")
        try expectNothingLeft()
    }

    @Test func `what comes last stays, even while another is put back`() throws {
        let found = try found()
        let files = files(replacing(by: "{\"a\": 1}"), replacing(by: "{\"a\": 2}"))
        #expect(why { try files.write([0x7b, 0x7d], to: Places.daemon, replacing: found) }.contains("somebody else"))
        #expect(try text(Places.daemon) == "{\"a\": 2}")
        try expectNothingLeft()
    }

    @Test func `a file that goes after the last look is not made again`() throws {
        let (path, found) = (root + Places.daemon, try found())
        let files = files({
            unlink(path)
            return nil
        })
        #expect(why { try files.write([0x7b, 0x7d], to: Places.daemon, replacing: found) }.contains("No such file"))
        #expect(try text(Places.daemon) == nil)
        try expectNothingLeft()
    }

    @Test(arguments: [EINVAL, ENOSYS, EOPNOTSUPP])
    func `a file system that cannot exchange names has the file replaced`(code: CInt) throws {
        let found = try found()
        try files({ code }).write([0x5b, 0x5d], to: Places.daemon, replacing: found)
        #expect(try text(Places.daemon) == "[]")
        let next = try #require(try host.files.read(Places.daemon))
        try files({ code }).remove(Places.daemon, found: next, folders: [])
        #expect(try text(Places.daemon) == nil)
        try expectNothingLeft()
    }

    @Test func `a file that is replaced before its removal stays`() throws {
        let found = try found()
        let files = files(replacing(by: "{\"a\": 1}"))
        #expect(why { try files.remove(Places.daemon, found: found, folders: []) }.contains("somebody else"))
        #expect(try text(Places.daemon) == "{\"a\": 1}")
        try expectNothingLeft()
    }

    /// AppArmor lets vtpmctl write where engines usually keep their files.
    @Test func `a folder that must not be written says which rule helps`() throws {
        let found = try found()
        let failure = #expect(throws: Failure.self) {
            try files({ EACCES }).write([0x7b, 0x7d], to: Places.daemon, replacing: found)
        }
        #expect(failure?.hint?.contains("\"/etc/docker/{,*} rw,\" in /etc/apparmor.d/local/vtpmctl") ?? false)
        #expect(try text(Places.daemon) == "{}")
        try expectNothingLeft()
    }
}
