import Platform
import VTPMProxy

/// The self-test of a TPM, for which no start waits. TPM 2.0 Library, Part 1, 12.3, and Part 3, 10
///
/// The kernel has each new TPM execute TPM2_SelfTest(NO), and takes TPM_RC_TESTING for success
/// (drivers/char/tpm/tpm2-cmd.c, `tpm2_do_selftest`). libtpms tests an algorithm before its first use in any case, and
/// knows which ones are left. Once the device is registered, the worker has them tested one at a time, while no command
/// waits.
///
/// A test of one algorithm is a TPM2_IncrementalSelfTest, which a TPM would not need for that. No tenant may notice it.
/// It changes nothing but what is audited: a command without an audit session ends the exclusive one
/// (SessionProcess.c, `UpdateAuditSessionStatus`), and the owner can have each command counted (CommandAudit.c). So the
/// test is completed before a command that an audit session or the list of audited commands is for. If that list, which
/// the TPM keeps, names TPM2_IncrementalSelfTest from the start, the kernel has the whole test executed.
struct SelfTest {
    /// Whether nothing is left to be tested, or nothing to be left.
    private var isComplete = false
    /// Whether the last command was a TPM2_Shutdown, after which a TPM does nothing by itself.
    private var isShutDown = false

    /// Whether an algorithm may be tested when no command waits.
    var isDue: Bool { !isComplete && !isShutDown }
    /// When the TPM may begin to test itself while no command waits; nil until the device is registered.
    private(set) var start: Deadline?

    /// Takes note that the kernel has registered the device; the test begins so many milliseconds later.
    mutating func noteRegistration(testingAfter pause: UInt32) { start = Deadline(milliseconds: Int(pause)) }

    /// Takes note of a TPM that has just started up.
    mutating func begin(of engine: TPMEngine) { isComplete = engine.auditsSelfTest }

    /// Has one algorithm tested, or notices that none is left.
    ///
    /// If the test fails, libtpms is in failure mode, and there is nothing more to test.
    mutating func testNext(of engine: TPMEngine) {
        guard let next = engine.untestedAlgorithms()?.first, let left = engine.untestedAlgorithms(testing: next) else {
            isComplete = true
            return
        }
        // One that is left after its test would be tested for ever.
        isComplete = left.isEmpty || left.contains(next)
    }

    /// Returns the response to a command that only a TPM which tests itself answers in another way; nil for any other.
    ///
    /// libtpms says that the test has succeeded even while algorithms are left (CryptUtil.c, `CryptGetTestResult`).
    mutating func response(
        to command: UnsafeRawBufferPointer,
        of engine: TPMEngine
    ) -> [UInt8]? {
        guard !isComplete else { return nil }
        if Self.mustBeCompleteBefore(command) {
            while !isComplete { testNext(of: engine) }
            return nil
        }
        let response: [UInt8]
        if start == nil, command.elementsEqual(TPMCommand.selfTest) {
            response = TPMCommand.response(code: TPMCommand.testing)
        } else if command.elementsEqual(TPMCommand.getTestResult) {
            response = TPMCommand.testResult(TPMCommand.testing)
        } else {
            return nil
        }
        isComplete = engine.untestedAlgorithms()?.isEmpty ?? true
        return isComplete ? nil : response
    }

    /// Takes note of a command that was executed; returns whether it has completed the test.
    ///
    /// A TPM2_SelfTest that succeeds leaves nothing to be tested, whether it is of everything or of the rest.
    mutating func note(_ command: UInt32?, response: UInt32?) -> Bool {
        let hasSucceeded = response == TPMCommand.success
        isShutDown = command == TPMCommand.shutdownCode && hasSucceeded
        guard !isComplete, command == TPMCommand.selfTestCode, hasSucceeded else { return false }
        isComplete = true
        return true
    }

    /// Whether a command would show that the TPM executes others; a result in a session cannot be replaced.
    private static func mustBeCompleteBefore(_ command: UnsafeRawBufferPointer) -> Bool {
        let code = TPMCommand.code(of: command)
        if code == TPMCommand.setAuditedCommandsCode { return true }
        if code == TPMCommand.getTestResultCode, !command.elementsEqual(TPMCommand.getTestResult) { return true }
        return TPMCommand.mayBeAuditedBySession(command)
    }
}

extension TPMEngine {
    /// Has an algorithm tested; returns the algorithms that are still to be tested, or nil if the TPM has failed.
    ///
    /// With nil none is tested.
    func untestedAlgorithms(testing algorithm: UInt16? = nil) -> [UInt16]? {
        execute(TPMCommand.incrementalSelfTest(of: algorithm)) { (response) -> [UInt16]? in
            guard TPMCommand.responseCode(of: response) == TPMCommand.success,
                let count = response.bigEndian(at: TPMCommand.headerSize, as: UInt32.self)
            else { return nil }
            let first = TPMCommand.headerSize + 4
            var algorithms: [UInt16] = []
            for index in 0..<Int(count) {
                guard let algorithm = response.bigEndian(at: first + 2 * index, as: UInt16.self) else { return nil }
                algorithms.append(algorithm)
            }
            return algorithms
        }
    }

    /// Whether the owner has TPM2_IncrementalSelfTest audited; so it is taken to be if the TPM does not tell.
    var auditsSelfTest: Bool {
        execute(TPMCommand.getWhetherSelfTestIsAudited) { (response) -> Bool in
            // After the header: more data (a byte), the capability, the number of commands, the first command.
            guard TPMCommand.responseCode(of: response) == TPMCommand.success,
                let count = response.bigEndian(at: TPMCommand.headerSize + 5, as: UInt32.self)
            else { return true }
            let first = response.bigEndian(at: TPMCommand.headerSize + 9, as: UInt32.self)
            return count > 0 && first == TPMCommand.incrementalSelfTestCode
        }
    }

    /// Why libtpms is in failure mode, which it does not leave; nil if it is not.
    ///
    /// TPM_RC_FAILURE alone does not tell: libtpms has it for a few errors of one command too. A second TPM2_Startup is
    /// refused, so that it changes nothing.
    var failureMode: Failure? {
        guard !hasFailed else { return nil }
        let code = execute(TPMCommand.startupClear) { TPMCommand.responseCode(of: $0) }
        guard code == TPMCommand.failure else { return nil }
        // After the header in failure mode: a size, then the function, the line and the error. TpmFail.c
        let error = execute(TPMCommand.getTestResult) { $0.bigEndian(at: 20, as: UInt32.self) }
        let line = execute(TPMCommand.getTestResult) { $0.bigEndian(at: 16, as: UInt32.self) }
        let what = error == Self.selfTestError ? "its self-test has failed" : "it is in failure mode"
        return Failure(
            "cannot serve the vTPM",
            because: "libtpms \(TPMLibrary.version): \(what), error \(error ?? 0) in line \(line ?? 0)"
        )
    }

    /// FATAL_ERROR_SELF_TEST of libtpms.
    private static let selfTestError: UInt32 = 6
}
