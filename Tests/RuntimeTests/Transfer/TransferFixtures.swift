import Glibc
import Platform
import RuntimeState
import RuntimeTransfer
import Testing

/// What no file may show: it stands for a TPM's seeds.
let seeds = Array("the seeds of a TPM, which nobody else may ever see".utf8)

/// A state to be exported.
func state(_ stateID: String = "web", _ permanent: [UInt8] = seeds) throws -> ExportedState {
    ExportedState(stateID: stateID, permanent: try secretCopy(of: permanent))
}

/// A passphrase, or any other secret text.
func secretText(_ text: String) throws -> SecretBytes { try secretCopy(of: Array(text.utf8)) }

/// The bytes of what is secret elsewhere.
func plain(_ secret: SecretBytes) -> [UInt8] { secret.withBytes { Array($0) } }

/// Whether one list of bytes occurs in another.
func contains(_ file: [UInt8], _ part: some Collection<UInt8>) -> Bool {
    file.indices.dropLast(part.count - 1).contains { file[$0...].starts(with: part) }
}

/// The words of the failure that a call must end with.
func words(_ body: () throws(Failure) -> Void) -> String {
    do throws(Failure) {
        try body()
        Issue.record("it was accepted")
        return ""
    } catch {
        return error.description
    }
}

extension TemporaryDirectory {
    /// Runs a command in it by the shell; it must succeed.
    func shell(_ command: String) throws {
        let script = "cd '\(path)' && (\(command)) >output 2>&1"
        let status = try ProgramLaunch("/bin/sh", ["sh", "-c", script]).start().wait()
        let output = String(decoding: try read("output"), as: UTF8.self)
        try #require(status == .exited(0), "\(command): \(output)")
    }

    /// What a command writes to standard output.
    func output(of command: String) throws -> [UInt8] {
        try shell("(\(command)) >made")
        return try read("made")
    }
}

/// States of our own, as the supervisor finds and leaves them; the key is that of `VTPMUnderTest`.
enum OwnStates {
    /// Puts a complete state where a vTPM will load it.
    static func write(_ permanent: SecretBytes, _ stateID: String, in temporary: TemporaryDirectory) throws {
        let store = try open(stateID, in: temporary).store
        try store.write(StatePayload(permanent: permanent, isComplete: true))
        try store.recordUse()
    }

    /// What a vTPM left.
    static func read(_ stateID: String, in temporary: TemporaryDirectory) throws -> SecretBytes {
        let payload = try open(stateID, in: temporary).payload
        try #require(payload.isComplete)
        return payload.permanent
    }

    private static func open(
        _ stateID: String,
        in temporary: TemporaryDirectory
    ) throws -> (store: StateStore, payload: StatePayload) {
        let path = temporary.path
        let user = StateUser(
            containerID: "transfer",
            initProcess: ProcessID(process: pid_t.max, startTime: 0),
            supervisor: getpid()
        )
        let keys = KeyRing(try MasterKey(secret(1)))
        let index = try HostIndex(in: temporary.directory("index"), path: "\(path)/index", keys: keys)
        let states = try temporary.directory("states")
        return try StateStore.open(
            stateID,
            in: StateRepository(in: states, path: "\(path)/states", keys: keys, index: index),
            for: user,
            until: Deadline(milliseconds: 10_000)
        )
    }
}
