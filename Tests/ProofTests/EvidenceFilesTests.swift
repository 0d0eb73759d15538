import Foundation
import Glibc
import Platform
import Proof
import Testing

/// A proof's files as a directory, and as one file.
final class EvidenceFilesTests {
    private let path: String

    init() throws {
        path =
            FileManager.default.temporaryDirectory.appendingPathComponent("container-vtpm-test.\(UUID().uuidString)")
            .path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    private func refusal(_ text: String) throws -> String {
        try text.write(toFile: "\(path)/proof", atomically: false, encoding: .utf8)
        let failure = #expect(throws: Failure.self) { try ProofBundle(reading: "\(path)/proof") }
        return failure?.description.replacingOccurrences(of: path, with: "") ?? ""
    }

    /// As draft-ietf-rats-msg-wrap has it, to the byte.
    @Test func aCollectionHasEachFileAsARecord() {
        var files = EvidenceFiles()
        files.add("guest.msg", [0xff, 0xfb, 0xef])
        files.add("proof.json", [0x7b])
        files.add("host.pem", [])
        #expect(
            String(decoding: files.collection, as: UTF8.self)
                == #"{"__cmwc_t":"tag:container-vtpm.org,2026:proof","guest.msg":["application/octet-stream","__vv",4],"#
                + #""host.pem":["application/x-pem-file","",4],"proof.json":["application/json","ew",4]}"#
        )
    }

    @Test(arguments: [
        ("[]", "cannot read /proof: it is no collection of a proof's files"),
        (#"{"__cmwc_t":"tag:example,2026:other"}"#, "cannot read /proof: it is no collection of a proof's files"),
        (#"{"__cmwc_t":"tag:container-vtpm.org,2026:proof"}"#, "cannot read /proof/proof.json: it is missing"),
        (
            #"{"__cmwc_t":"tag:container-vtpm.org,2026:proof","proof.json":["application/json","ew=="]}"#,
            "cannot read /proof: its part proof.json is no record of a message"
        ),
        (
            #"{"__cmwc_t":"tag:container-vtpm.org,2026:proof","proof.json":["application/json","ex"]}"#,
            "cannot read /proof: its part proof.json is no record of a message"
        ),
        (
            #"{"__cmwc_t":"tag:container-vtpm.org,2026:proof","proof.json":"ew"}"#,
            "cannot read /proof: its part proof.json is no record of a message"
        ),
    ])
    func whatIsNoCollectionIsRefused(text: String, why: String) throws {
        #expect(try refusal(text) == why)
    }

    /// A verifier is given directories by strangers: nothing in them is followed or waited for.
    @Test func whatIsNoFileIsNotRead() throws {
        let directory = "\(path)/directory"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        func refusal() -> String {
            let failure = #expect(throws: Failure.self) { try ProofBundle(reading: directory) }
            return failure?.description.replacingOccurrences(of: path, with: "") ?? ""
        }
        #expect(refusal() == "cannot read /directory/proof.json: it is missing")
        #expect(symlink("/etc/passwd", "\(directory)/proof.json") == 0)
        #expect(refusal().hasPrefix("cannot open /directory/proof.json: openat2: "))
        #expect(unlink("\(directory)/proof.json") == 0 && mkfifo("\(directory)/proof.json", 0o600) == 0)
        #expect(refusal() == "cannot read /directory/proof.json: it is no regular file")
        #expect(mkfifo("\(path)/pipe", 0o600) == 0)
        let failure = #expect(throws: Failure.self) { try ProofBundle(reading: "\(path)/pipe") }
        #expect(failure?.why == "it is no regular file")
    }

    @Test func aDirectoryThatCannotBeFilledIsNotLeft() throws {
        var files = EvidenceFiles()
        files.add("one", [1])
        files.add("one", [1])
        #expect(throws: Failure.self) { try files.write(to: "\(path)/made") }
        #expect(access("\(path)/made", F_OK) != 0)
        try FileManager.default.createDirectory(atPath: "\(path)/there", withIntermediateDirectories: true)
        #expect(throws: Failure.self) { try files.write(to: "\(path)/there") }
        #expect(access("\(path)/there", F_OK) == 0)
    }
}
