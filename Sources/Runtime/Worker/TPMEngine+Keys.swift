import Platform
import RuntimeControl
import VTPMProxy

// The keys that a TPM has at fixed handles.
extension TPMEngine {
    /// Puts those of these keys at their handles at which there is nothing; returns those that the TPM has refused.
    ///
    /// What a tenant has put at such a handle stays there. An authorization that the tenant has set is not tried against:
    /// of a hierarchy other than lockout, a failed one has no consequences (TPM 2.0 Library, Part 1, 19.8.2).
    func complete(_ keys: StandardKeys) throws(Failure) -> [RefusedKey] {
        var refused: [RefusedKey] = []
        for key in keys.elements where !isInUse(key.handle) {
            if let code = make(key) { refused.append(RefusedKey(key, code: code)) }
            try requireStored("TPM2_EvictControl")
        }
        return refused
    }

    private func isInUse(_ handle: UInt32) -> Bool {
        execute(TPMCommand.firstHandle(from: handle)) { TPMCommand.firstHandle(in: $0) } == handle
    }

    /// Makes a key and keeps it; returns the response code if the TPM refuses.
    private func make(_ key: StandardKey) -> UInt32? {
        let (object, code) = execute(TPMCommand.createPrimary(key)) {
            (TPMCommand.createdHandle(in: $0), TPMCommand.responseCode(of: $0))
        }
        guard let object else { return code ?? TPMCommand.failure }
        let kept = execute(TPMCommand.keep(object, at: key.handle)) { TPMCommand.responseCode(of: $0) }
        _ = execute(TPMCommand.flush(object)) { TPMCommand.responseCode(of: $0) }
        return kept == TPMCommand.success ? nil : kept ?? TPMCommand.failure
    }

    /// Executes a command of this program's own, and reads what is needed of the response.
    func execute<Result>(_ command: [UInt8], _ read: (UnsafeRawBufferPointer) -> Result) -> Result {
        var copy = command
        return copy.withUnsafeMutableBytes { read(process($0)) }
    }
}
