import CLinux
import Glibc
import Platform
import Testing

@testable import RuntimeState

/// The files of real vTPMs, made by supervisor and worker: what is damaged, and what is put in its place.
struct RealStates {
    /// The state "web" as its vTPM left it.
    let state: [UInt8]
    /// The index that belongs to it.
    let index: [String: [UInt8]]
    /// The same state's earlier generations, that of another ID, and those of another vTPM with the same ID.
    let otherStates: [[UInt8]]
    /// The root of the index of another host with the same key.
    let otherIndex: [UInt8]

    init() throws {
        let here = try TemporaryDirectory()
        let elsewhere = try TemporaryDirectory()
        let generations = try Self.live(in: here, "web")
        let db = try Self.live(in: here, "db")
        let foreign = try Self.live(in: elsewhere, "web")
        state = try #require(generations.last)
        otherStates = generations.dropLast() + db + foreign
        index = try files(below: "\(here.path)/index")
        otherIndex = try elsewhere.read("index/index")
    }

    /// One vTPM's life; returns its state after each change.
    private static func live(in temporary: TemporaryDirectory, _ stateID: String) throws -> [[UInt8]] {
        let tpm = try VTPMUnderTest(in: temporary, stateID: stateID)
        try tpm.create()
        var generations = [try temporary.read("states/\(stateID)/state")]
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 1500 -a 'ownerread|ownerwrite'")
        generations.append(try temporary.read("states/\(stateID)/state"))
        for number in 0..<3 {
            try tpm.run("head -c 1500 /dev/zero | tr '\\0' \(number) | tpm2_nvwrite -Q 0x1500001 -C o -i -")
            generations.append(try temporary.read("states/\(stateID)/state"))
        }
        try #require(try tpm.stop() == .exited(0))
        generations.append(try temporary.read("states/\(stateID)/state"))
        return generations
    }

    /// Lays them out below a directory as a host has them.
    func lay(in root: String) throws {
        for name in ["index", "states/web"] { _ = try openOwnDirectory("\(root)/\(name)") }
        let options = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try Descriptor.open("\(root)/states/web/state", options).writeAll(state, "state")
        try Descriptor.open("\(root)/states/web/lock", options).writeAll([UInt8](), "lock")
        for (name, bytes) in index { try Descriptor.open("\(root)/index/\(name)", options).writeAll(bytes, name) }
    }
}

/// All files below a directory, by their paths from there; sockets are none.
func files(below root: String, _ path: String = "") throws(Failure) -> [String: [UInt8]] {
    var found: [String: [UInt8]] = [:]
    let directory = try Descriptor.open("\(root)/\(path)", .directory)
    for name in try entries(of: directory, path) {
        let own = path.isEmpty ? name : "\(path)/\(name)"
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
        if status.st_mode & S_IFMT == S_IFDIR {
            found.merge(try files(below: root, own)) { $1 }
        } else {
            found[own] = try Descriptor.open(name, .read, at: directory.number).readAll(limit: 1 << 24, own)
        }
    }
    return found
}
