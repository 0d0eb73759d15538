import Platform
import RuntimeControl
import VTPMProxy

// The keys that a TPM has at fixed handles.
extension TPMEngine {
    /// Puts those of these keys at their handles at which there is nothing; returns those that cannot be put there.
    ///
    /// What a tenant has put at such a handle stays there. Nothing is computed for a key that could not be kept: a tenant that
    /// stands in the way does so at each start.
    func complete(_ keys: StandardKeys) throws(Failure) -> [RefusedKey] {
        guard !keys.isEmpty else { return [] }
        let used = execute(TPMCommand.persistentHandles) { TPMCommand.handles(in: $0) }
        var refused: [RefusedKey] = []
        for key in keys.elements where !used.contains(key.handle) {
            if let code = obstacle(to: key) ?? make(key) { refused.append(RefusedKey(key, code: code)) }
            try requireStored("TPM2_EvictControl")
        }
        return refused
    }

    /// Returns the response code by which the TPM would refuse the key; nil if it is known of none.
    ///
    /// TPM2_CreatePrimary is authorized by the key's hierarchy, TPM2_EvictControl by the owner, both with an empty password.
    private func obstacle(to key: StandardKey) -> UInt32? {
        let attributes = property(TPMCommand.permanentAttributes) ?? 0
        let (ownerAuthSet, endorsementAuthSet): (UInt32, UInt32) = (1, 2)
        let needed = key.hierarchy == TPMCommand.endorsement ? ownerAuthSet | endorsementAuthSet : ownerAuthSet
        if attributes & needed != 0 { return TPMCommand.badAuthorization }
        return property(TPMCommand.roomForPersistentObjects) == 0 ? TPMCommand.noSpace : nil
    }

    private func property(_ property: UInt32) -> UInt32? {
        execute(TPMCommand.value(of: property)) { TPMCommand.value(of: property, in: $0) }
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
