import CLinux
import Glibc
import Platform
import Testing

@testable import RuntimeState

// What a store does when somebody else has touched the file that it writes.
extension StateStoreTests {
    private var file: String { "\(temporary.path)/states/web/state" }

    private func payload(_ text: String) throws -> StatePayload {
        try StatePayload(permanent: secretCopy(of: Array(text.utf8)), isComplete: true)
    }

    private func inode(_ path: String) throws -> ino_t {
        var status = stat()
        try systemCall("stat", "cannot examine \(path)") { stat(path, &status) }
        return status.st_ino
    }

    private func copy(to path: String) -> String {
        let bytes = (try? temporary.read("states/web/state")) ?? []
        try? temporary.write("other", bytes)
        return path
    }

    /// Writes states, lets something happen, and writes another one; returns the file's number before that.
    private func writing(_ texts: [String], then last: String, _ happens: () throws -> Void) throws -> ino_t {
        let store = try open().store
        for text in texts { try store.write(payload(text)) }
        let before = try inode(file)
        try happens()
        try store.write(payload(last))
        try store.recordUse()
        return before
    }

    /// What is at the name is what the next start finds: a write to the file that was there before would be lost with it.
    @Test(arguments: ["a copy", "a link", "another time"])
    func whatSomebodyElseHasTouchedIsReplaced(_ what: String) throws {
        let other = "\(temporary.path)/other"
        let before = try writing(["first", "second", "third"], then: "fourth") {
            switch what {
            case "a copy": try systemCall("rename", "cannot rename") { rename(copy(to: other), file) }
            case "a link": try systemCall("link", "cannot link") { link(file, other) }
            default: try systemCall("utimensat", "cannot touch") { utimensat(AT_FDCWD, file, nil, 0) }
            }
        }
        #expect(try inode(file) != before)
        #expect(try load() == "fourth")
        // What was linked is as it was.
        if what == "a link" { #expect(try temporary.read("other").count > 0 && inode(other) == before) }
    }

    @Test func whatNobodyElseHasTouchedIsWrittenInPlace() throws {
        let before = try writing(["first", "second"], then: "third") {}
        #expect(try inode(file) == before)
        #expect(try load() == "third")
    }
}
