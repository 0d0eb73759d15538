import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeTransfer
import VTPMProxy

@testable import RuntimeWorker

/// Hears of each command's code and its answer's response code.
nonisolated(unsafe) var noteAnswer: (_ command: UInt32, _ code: UInt32) -> Void = { _, _ in }

/// Commands, as the worker reads them from the proxy's descriptor, with libtpms behind.
///
/// The input is a list of commands, up to 32. A flagged one gets the size that it has written into its header, as the
/// kernel sees to it for what comes from `/dev/tpmN` (tpm_common_write); any other is sent as it is. Each input finds
/// the same TPM, whatever the ones before did.
func fuzzWorker(_ bytes: UnsafeRawBufferPointer) {
    let commands = Array(Records(bytes).prefix(32))
    MainActor.assumeIsolated { TPMUnderTest.one.serve(commands) }
}

/// Serves a socket until it is closed, for what records commands.
func serveWorker(on server: consuming Descriptor) {
    let number = server.release()
    MainActor.assumeIsolated { TPMUnderTest.one.serve(Descriptor(owning: number)) }
}

/// A worker's serving part, with a socket in place of the proxy's descriptor and a store that always succeeds.
@MainActor
private final class TPMUnderTest {
    static let one = TPMUnderTest()

    private let worker: Worker
    private let engine: TPMEngine
    private let memory: LibraryMemory
    /// TPM2_SelfTest(YES): what a TPM tests when it is first needed takes longer than all else.
    private static let selfTest: [UInt8] = [0x80, 0x01, 0, 0, 0, 11, 0, 0, 0x01, 0x43, 1]

    private init() {
        let pair = must { () throws(Failure) in try Channel.pair(near: "worker", far: "supervisor") }
        worker = must { () throws(Failure) in try Worker(channel: pair.near) }
        let engine = must { () throws(Failure) in
            try TPMEngine(state: Self.state(), provision: TPMProvision(keys: [])) { state in
                require(!state.isEmpty && state.count <= WorkerReply.stateLimit, "a state that cannot be stored")
            }
        }
        self.engine = engine
        var command = Self.selfTest
        command.withUnsafeMutableBytes { _ = engine.process($0) }
        memory = LibraryMemory(of: "libtpms")
    }

    /// Not a new TPM each time: what one has encrypted for itself would mean nothing to the next.
    private static func state() throws(Failure) -> SecretBytes {
        let path = "\(fuzzFolder)/../RuntimeTests/Fixtures/format/1/host-tpm/tpm2-00.permall"
        let file = try Descriptor.open(path, .read)
        return try SWTPMState.decode(secret(file.readAll(limit: SWTPMState.fileLimit, path)), key: nil, path: path)
    }

    func serve(_ commands: [(isFlagged: Bool, bytes: [UInt8])]) {
        var ends: [CInt] = [-1, -1]
        let type = CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
        require(socketpair(AF_UNIX, type, 0, &ends) == 0, "no socket")
        let kernel = Descriptor(owning: ends[0])
        let server = Descriptor(owning: ends[1])
        defer { memory.restore() }
        for (isFlagged, bytes) in commands {
            var command = Array(bytes.prefix(ProxyTransport.bufferSize))
            if isFlagged, command.count >= 6 { command.put(UInt32(command.count), at: 2) }
            require(send(kernel.number, command, command.count, 0) == command.count, "a command cannot be sent")
            let goesOn = must { () throws(Failure) in try worker.serveOne(engine, server, failing: false) }
            require(goesOn == !command.isEmpty, "the end of the device and a command are told apart wrongly")
            guard goesOn else { return }
            examine(answer(on: kernel), to: command)
            require(!engine.hasFailed, "a store that succeeded is taken for a failed one")
        }
    }

    func serve(_ server: borrowing Descriptor) {
        while must({ () throws(Failure) in try worker.serveOne(engine, server, failing: false) }) {}
    }

    private func answer(on kernel: borrowing Descriptor) -> [UInt8] {
        var answer = [UInt8](repeating: 0, count: ProxyTransport.bufferSize + 1)
        let count = recv(kernel.number, &answer, answer.count, CInt(MSG_DONTWAIT))
        require(count > 0, "a command without an answer")
        answer.removeLast(answer.count - max(count, 0))
        require(recv(kernel.number, &answer, 0, CInt(MSG_DONTWAIT)) < 0, "a command with two answers")
        return answer
    }

    /// What the kernel takes for an answer (tpm_transmit, tpm2_find_and_validate_cc), and what no tenant may be given.
    private func examine(_ answer: [UInt8], to command: [UInt8]) {
        require(
            (TPMCommand.headerSize...ProxyTransport.bufferSize).contains(answer.count)
                && answer.integer(at: 2, bytes: 4) == answer.count,
            "an answer of \(answer.count) bytes says that it has \(answer.integer(at: 2, bytes: 4))"
        )
        let code = UInt32(command.integer(at: 6, bytes: 4))
        let result = UInt32(answer.integer(at: 6, bytes: 4))
        // TPM2_ChangeEPS, TPM2_ChangePPS: the seeds belong to the platform, whose hierarchy is disabled.
        require(![0x124, 0x125].contains(code) || result != TPMCommand.success, "the TPM's seeds were changed")
        noteAnswer(code, result)
    }
}
