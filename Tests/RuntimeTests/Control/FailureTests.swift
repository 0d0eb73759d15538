import Platform
import Testing

struct FailureTests {
    @Test func anotherProcessesWordsAreTakenApart() {
        let failure = Failure(relayed: Array("cannot read /a:b: open: No such file or directory".utf8))
        #expect(failure.what == "cannot read /a:b")
        #expect(failure.why == "open: No such file or directory")
        #expect(failure.description == "cannot read /a:b: open: No such file or directory")
    }

    @Test(arguments: ["", "killed", ":", "a:b"])
    func wordsThatAreNoFailureAreTheReason(text: String) {
        let failure = Failure(relayed: Array(text.utf8))
        #expect(failure.what == "cannot keep the vTPM")
        #expect(failure.why == (text.isEmpty ? "no reason" : text))
    }

    @Test func aDeadlinePassesOnce() {
        #expect(Deadline(milliseconds: 0).hasPassed)
        let deadline = Deadline(milliseconds: 60_000)
        #expect(!deadline.hasPassed)
        #expect((1...60_000).contains(deadline.remaining))
    }
}
