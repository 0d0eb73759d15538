import Glibc
import Platform
import RuntimeControl
import Testing

@testable import RuntimeLease

/// The record of a vTPM that waits for its hook.
@Suite final class PreparedVTPMTests {
    private static let token = [UInt8](1...16)
    private let temporary: TemporaryDirectory
    private let lease: OpenLease

    init() throws {
        temporary = try TemporaryDirectory()
        lease = OpenLease("l", try temporary.directory("l"))
    }

    private func record(_ config: [UInt8] = [1, 2, 3]) throws -> PreparedVTPM {
        try PreparedVTPM(token: Self.token, config: config)
    }

    @Test func `what was written is read`() throws {
        #expect(try lease.prepared() == nil)
        try lease.write(record())
        #expect(try lease.prepared() == record())
        try lease.removePrepared()
        #expect(try lease.prepared() == nil)
        try lease.removePrepared()
        #expect(try entries(of: lease.directory, "") == [])
    }

    @Test func `it tells the file that was written from others`() throws {
        #expect(try record().describes(config: [1, 2, 3]))
        for other in [[], [1, 2], [1, 2, 4], [1, 2, 3, 0]] as [[UInt8]] {
            #expect(try !record().describes(config: other))
        }
    }

    /// Two preparations cannot have one lease.
    @Test func `it is never written over`() throws {
        try lease.write(record())
        let error = #expect(throws: Failure.self) { try lease.write(record([])) }
        #expect(error?.code == EEXIST)
        #expect(try lease.prepared() == record())
    }

    /// A kill, or a full file system, leaves no part of it: the bundle would be refused until the next boot.
    @Test func `it is there whole or not at all`() throws {
        try temporary.write("l/\(LeaseFiles.unfinishedLease)", [UInt8](repeating: 0, count: 4096))
        try lease.write(record())
        #expect(try lease.prepared() == record())
        #expect(try entries(of: lease.directory, "") == [LeaseFiles.prepared])
    }

    @Test func `what is damaged is none`() throws {
        let whole = try record().encoded
        #expect(PreparedVTPM(whole) == (try record()))
        for bytes in (0..<whole.count).map({ Array(whole[..<$0]) }) + [whole + [0]] {
            #expect(PreparedVTPM(bytes) == nil)
        }
        let damaged = Failure("cannot read prepared of the lease l", because: "it is damaged")
        for bytes in [[], Array(whole.dropLast()), whole + [0]] {
            try temporary.write("l/prepared", bytes)
            #expect(throws: damaged) { try lease.prepared() }
        }
        // An empty one counts: its writer was killed, and the bundle is looked at.
        try temporary.write("l/prepared", [])
        let isPrepared = try lease.isPrepared()
        #expect(isPrepared)
    }

    @Test func `it goes with the lease`() throws {
        try lease.write(record())
        try lease.remove(from: temporary.directory("."))
        #expect(!temporary.exists("l"))
    }

    /// The supervisor leaves it, however it ends.
    @Test func `a supervisor's lease stays with it`() throws {
        for isPrepared in [true, false] {
            let own = try LeaseDirectory("own", in: temporary.directory("."))
            let opened = OpenLease("own", try temporary.directory("own"))
            try opened.write(record())
            if !isPrepared { try opened.removePrepared() }
            try own.remove()
            #expect(temporary.exists("own") == isPrepared)
        }
    }

    @Test func `a socket has the name that it is given`() throws {
        let listener = try ControlSocket.listen(in: lease.directory, as: AdoptionRequest.socketName)
        #expect(try entries(of: lease.directory, "") == ["adoption"])
        let error = #expect(throws: Failure.self) { try ControlSocket.connect(in: lease.directory) }
        #expect(error?.code == ENOENT)
        let control = try ControlSocket.listen(in: lease.directory)
        #expect(try entries(of: lease.directory, "").sorted() == ["adoption", "control"])
        let client = try ControlSocket.connect(in: lease.directory, as: AdoptionRequest.socketName)
        try client.send(AdoptionRequest.adopt(token: Self.token))
        if try ControlSocket.accept(from: control) != nil { Issue.record("the other socket has the connection") }
        let accepted = try #require(try ControlSocket.accept(from: listener))
        #expect(try ControlSocket.peer(of: accepted) == getpid())
        guard let message = try accepted.receive(into: Channel.makeBuffer()),
            case .adopt(Self.token)? = AdoptionRequest(message)
        else { throw Failure("no", because: "request") }
    }
}
