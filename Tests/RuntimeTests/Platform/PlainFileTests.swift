import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import Testing

/// Something else where a file is expected: it is told, and nobody waits for a pipe's other end.
@Suite(.serialized) struct PlainFileTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    enum Other: CaseIterable {
        case pipe
        case directory
        case device
    }

    private func put(_ other: Other, at file: String) throws {
        let path = "\(temporary.path)/\(file)"
        unlink(path)
        let result =
            switch other {
            case .pipe: mkfifo(path, 0o600)
            case .directory: mkdir(path, 0o700)
            case .device: mknod(path, S_IFCHR | 0o600, clinux_makedev(1, 3))
            }
        try #require(result == 0, "\(String(cString: strerror(errno)))")
    }

    @Test(arguments: Other.allCases) func onlyPlainFilesAreOpened(_ other: Other) throws {
        try put(other, at: "other")
        let path = "\(temporary.path)/other"
        let error = #expect(throws: Failure.self) { _ = try Descriptor.openFile(path, .read) }
        #expect(error?.description == "cannot read \(path): it is no regular file")
        // A pipe that nobody reads would be waited for as well.
        let writing = #expect(throws: Failure.self) {
            _ = try Descriptor.openFile(path, OpenOptions(O_WRONLY | O_CREAT, mode: 0o600))
        }
        let expected =
            switch other {
            case .pipe: "open: No such device or address"
            case .directory: "open: Is a directory"
            case .device: "it is no regular file"
            }
        #expect(writing?.why == expected)
    }

    /// What a supervisor reads.
    @Test(arguments: ["states/web/state", "states/web/lock", "index/index", "index/lock"], [Other.pipe, .device])
    func aSupervisorSaysWhichItIs(_ file: String, _ other: Other) throws {
        let first = try VTPMUnderTest(in: temporary)
        try first.create()
        try first.stop()
        try put(other, at: file)
        let tpm = try VTPMUnderTest(in: temporary)
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        let text = String(decoding: answer.body, as: UTF8.self)
        #expect(text.hasSuffix(": it is no regular file"), "\(text)")
        #expect(try tpm.reap() == .exited(1))
    }

    @Test func aLeaseIsAPlainFile() throws {
        let lease = OpenLease("of web", try temporary.directory("lease"))
        try put(.pipe, at: "lease/\(LeaseFiles.lease)")
        let error = #expect(throws: Failure.self) { try lease.read() }
        #expect(error?.description == "cannot read the lease of web: it is no regular file")
    }
}
