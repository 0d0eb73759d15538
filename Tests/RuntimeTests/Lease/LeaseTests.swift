import Crypto
import Foundation
import Platform
import RuntimeControl
import RuntimeFormat
import Testing

@testable import RuntimeLease

/// A lease as the hook writes it, and as earlier versions wrote it for containers that still run.
@Suite struct LeaseTests {
    private static let lease = Lease(
        containerID: "web",
        bundle: "/run/containerd/io.containerd.runtime.v2.task/k8s.io/web",
        stateID: "containerd/k8s.io/\"web\" \\ 1\u{1}ä",
        initProcess: ProcessID(process: 4242, startTime: .max),
        supervisor: ProcessID(process: 4243, startTime: 123_456),
        worker: ProcessID(process: 4244, startTime: 123_457),
        library: LibraryVersion(0, 9, 2),
        tpmNumber: 3,
        tpm: "10:224",
        tpmrm: "253:65539"
    )
    private let temporary: TemporaryDirectory

    init() throws { temporary = try TemporaryDirectory() }

    private func open() throws -> OpenLease { OpenLease("l", try temporary.directory("l")) }

    @Test func `a container's ID and bundle name its lease`() throws {
        let one = try Lease.name(containerID: "web", bundle: "/a")
        #expect(one == "1511c9b89caad30a39bd08d8f393698d")
        #expect(one != (try Lease.name(containerID: "web", bundle: "/b")))
        #expect(one != (try Lease.name(containerID: "we", bundle: "b/a")))
    }

    @Test func `what was written is read`() throws {
        let opened = try open()
        #expect(try opened.read() == nil)
        try opened.write(Self.lease)
        #expect(try opened.read() == Self.lease)
        // A shorter one leaves nothing of the room that the supervisor reserved.
        var other = Self.lease
        (other.stateID, other.library, other.place) = (nil, nil, .cgroup("/sys/fs/cgroup/container-vtpm/l"))
        try temporary.write("l/\(LeaseFiles.unfinishedLease)", [UInt8](repeating: 0, count: 4096))
        try opened.write(other)
        #expect(try opened.read() == other)
        other.place = .unit("vtpm-web-4243.scope")
        other.cgroup = CgroupIdentity(mountPoint: "/sys/fs/cgroup", mountRoot: 1, path: "a", inode: 1 << 40)
        try opened.write(other)
        #expect(try opened.read() == other)
        #expect(try entries(of: opened.directory, "") == [LeaseFiles.lease])
    }

    /// The first version, which has no field for a cgroup.
    @Test func `a lease of the first version is read`() throws {
        var fields = ByteWriter()
        for text in [Self.lease.containerID, Self.lease.bundle, Self.lease.stateID ?? ""] { fields.write(text: text) }
        for process in [Self.lease.initProcess, Self.lease.supervisor, Self.lease.worker] {
            fields.write(UInt32(bitPattern: process.process))
            fields.write(process.startTime)
        }
        fields.write(try #require(Self.lease.library).number)
        fields.write(Self.lease.tpmNumber)
        for text in [Self.lease.tpm, Self.lease.tpmrm] { fields.write(text: text) }
        #expect(try Lease(decoding: first(fields), "l") == Self.lease)
        fields.write(UInt8(0))
        #expect(throws: Failure.self) { try Lease(decoding: first(fields), "l") }
    }

    /// A whole file of the first version.
    private func first(_ fields: ByteWriter) throws -> [UInt8] {
        var file = ByteWriter()
        file.write(Array("CVTPMLS\n".utf8))
        file.write(UInt16(1))
        file.write(UInt32(FileFormat.prefixSize + fields.bytes.count + 16))
        file.write(fields.bytes)
        return try file.bytes + SHA256.digest(file.bytes).prefix(16)
    }

    @Test func `a lease that was changed or cut is refused`() throws {
        let file = try Self.lease.encoded()
        for index in file.indices {
            var changed = file
            changed[index] ^= 0x10
            #expect(throws: Failure.self) { try Lease(decoding: changed, "l") }
            #expect(throws: Failure.self) { try Lease(decoding: Array(file[..<index]), "l") }
        }
        #expect(throws: Failure.self) { try Lease(decoding: file + [0], "l") }
        var newer = file
        newer[9] = 3
        let failure = try #require(throws: Failure.self) { try Lease(decoding: newer, "l") }
        #expect(failure.description.hasSuffix("lease l: it has format 3, newer than this version's 2 (upgrade)"))
    }

    @Test func `a lease that is too large is not written`() throws {
        var lease = Self.lease
        lease.bundle = String(repeating: "a", count: 65536)
        let opened = try open()
        let failure = try #require(throws: Failure.self) { try opened.write(lease) }
        #expect(failure.description == "cannot write the lease of \"web\": it is larger than 65536 bytes")
    }

    // MARK: - Earlier versions

    private var earlier: [UInt8] {
        get throws {
            let path = #filePath.split(separator: "/").dropLast(2).reduce("") { "\($0)/\($1)" } + "/Fixtures/lease"
            return try Descriptor.open("\(path)/lease.json", .read).readAll(limit: 65536, path)
        }
    }

    @Test func `a lease of an earlier version is read, and removed with its directory`() throws {
        let opened = try open()
        try temporary.write("l/lease.json", earlier)
        try temporary.write("l/lease.json.new", [])
        #expect(try opened.read() == Self.lease)
        try opened.remove(from: temporary.directory("."))
        #expect(!temporary.exists("l"))
    }

    /// What an earlier version wrote with the standard library's encoder, for any text.
    @Test func `its texts are read as a JSON library reads them`() throws {
        var generator = SystemRandomNumberGenerator()
        let odd: [Unicode.Scalar] = ["\"", "\\", "/", "\n", "\u{0}", "\u{7f}", "\u{2028}", "é", "\u{301}", "😀", ","]
        for _ in 0..<500 {
            var text = String.UnicodeScalarView()
            for _ in 0..<Int.random(in: 0...12, using: &generator) {
                text.append(Bool.random() ? odd.randomElement() ?? "a" : Unicode.Scalar(UInt8.random(in: 0...127)))
            }
            let object = try JSONDecoder().decode([String: Value].self, from: Data(earlier))
                .merging(["bundle": .text(String(text))]) { $1 }
            let encoder = JSONEncoder()
            if Bool.random() { encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes] }
            let lease = try #require(EarlierLease.lease(Array(try encoder.encode(object))))
            #expect(lease.bundle.unicodeScalars.elementsEqual(text))
        }
    }

    private enum Value: Codable {
        case text(String)
        case number(UInt64)

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            self = try (try? .number(container.decode(UInt64.self))) ?? .text(container.decode(String.self))
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .text(let text): try container.encode(text)
            case .number(let number): try container.encode(number)
            }
        }
    }

    @Test func `a damaged one is refused`() throws {
        let file = try earlier
        // A cut of the line feed at its end is none.
        for count in 0..<file.count - 1 { #expect(EarlierLease.lease(Array(file[..<count])) == nil) }
        let text = String(decoding: file, as: UTF8.self)
        for (part, other) in [
            ("4242", "99999999999"), ("4242", "-1"), ("4242", "\"4242\""), ("4242", "4242.0"), ("4242", "null"),
            ("18446744073709551615", "18446744073709551616"), ("\"initPID\"", "\"workerPID\""),
            ("\"tpm\"", "\"tpn\""), ("\\u0001", "\\ud800"), ("\\u0001", "\\u+001"), ("\\u0001", "\\x"), ("}", "},"),
            ("}", "}}"), ("\"tpm\" :", "\"tpm\" ::"), ("\"web\"", "[]"),
        ] {
            let changed = text.replacing(part, with: other, maxReplacements: 1)
            #expect(changed != text && EarlierLease.lease(Array(changed.utf8)) == nil, "\(other)")
        }
        let opened = try open()
        try temporary.write("l/lease.json", Array("{".utf8))
        let failure = try #require(throws: Failure.self) { try opened.read() }
        #expect(
            failure.description
                == "cannot read the lease l: it is damaged (remove its directory once its container is gone)"
        )
    }
}
