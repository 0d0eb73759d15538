import Crypto
import Platform

extension HostTPM {
    /// Defines a counter and increments it once, since a counter cannot be read before its first write.
    ///
    /// A new counter starts above the highest value that any counter of the TPM has had (TPM 2.0 Library, Part 3,
    /// TPM2_NV_Increment). Defining it again never lowers its value. Throws if the index is in use or if the owner's
    /// authorization is not empty.
    public func defineCounter(_ index: UInt32) throws(Failure) -> CounterIdentity {
        let link = link("cannot define the counter \(Handle.text(index))")
        let remove = "remove it if nobody needs it: tpm2_nvundefine -C o \(Handle.text(index))"
        guard try link.counterPublic(at: index) == nil else {
            throw link.failure("the TPM has this NV index already", hint: remove)
        }
        let key = try link.storageKeyOrNew()
        let policy = try Random.bytes(count: SHA256.digestSize)
        let unwritten = NVPublic(counter: index, policy: policy, isWritten: false)
        let written = NVPublic(counter: index, policy: policy, isWritten: true)
        var define = Command(.nvDefineSpace)
        define.handles = [.init(Handle.owner)]
        define.authorization = .password
        define.parameters.write(sized: [])
        define.parameters.write(sized: unwritten.encoded)
        let response = try link.runAsOwner(define, hint: Self.clearOwner, accepting: [.nvDefined])
        guard response.code == .success else {
            throw link.failure("the TPM has this NV index already", hint: remove)
        }
        do {
            return try link.withSession(.hmac, key) { (session) throws(Failure) in
                try link.increment(index, name: entityName(ofPublicArea: unwritten.encoded), session)
                let name = try entityName(ofPublicArea: written.encoded)
                _ = try link.readCounter(index, name: name, session)
                return CounterIdentity(index: index, name: name, key: key)
            }
        } catch {
            // The next attempt would find the index in use. Nothing refers to it yet.
            try? link.undefine(index)
            throw error
        }
    }

    /// Reads the counter's value. TPM2_NV_Read
    public func readCounter(_ counter: CounterIdentity) throws(Failure) -> UInt64 {
        let link = link("cannot read the counter \(Handle.text(counter.index))")
        return try link.withSession(of: counter) { (session) throws(Failure) in
            try link.readCounter(counter.index, name: counter.name, session)
        }
    }

    /// Increments the counter and returns its value. TPM2_NV_Increment
    ///
    /// If another process increments it at the same time, the returned value may include both increments.
    public func incrementCounter(_ counter: CounterIdentity) throws(Failure) -> UInt64 {
        let link = link("cannot increment the counter \(Handle.text(counter.index))")
        return try link.withSession(of: counter) { (session) throws(Failure) in
            try link.increment(counter.index, name: counter.name, session)
            return try link.readCounter(counter.index, name: counter.name, session)
        }
    }

    /// Removes a counter; throws if the NV index is not a counter with our attributes. TPM2_NV_UndefineSpace
    public func undefineCounter(_ index: UInt32) throws(Failure) {
        let link = link("cannot remove the counter \(Handle.text(index))")
        guard let area = try link.counterPublic(at: index) else {
            throw link.failure("the TPM has no such NV index")
        }
        guard area.isCounter else { throw link.failure("the NV index is no counter of ours") }
        try link.undefine(index)
    }

    /// Returns whether the TPM has this NV index, of whatever type.
    public func counterExists(_ index: UInt32) throws(Failure) -> Bool {
        try link("cannot look for the counter \(Handle.text(index))").counterPublic(at: index) != nil
    }

    static let clearOwner = "the owner takes the authorization away for this step: tpm2_changeauth -c owner -p AUTH"
}

extension TPMConnection {
    /// Reads the public area of an NV index; returns nil if the index is free. TPM2_NV_ReadPublic
    ///
    /// The response is not authenticated. If it was changed, the HMAC of the next command fails.
    func counterPublic(at index: UInt32) throws(Failure) -> NVPublic? {
        guard Handle.type(of: index) == Handle.nvType else {
            throw failure("it is no NV index", hint: "choose one from 0x01800000 to 0x01bfffff, the owner's")
        }
        var command = Command(.nvReadPublic)
        command.handles = [.init(index)]
        var response = try run(command, accepting: [.handle])
        guard response.code == .success else { return nil }
        guard let bytes = response.parameters.readSized(), response.parameters.readSized() != nil,
            response.parameters.remaining == 0, let area = NVPublic(decoding: bytes), area.index == index
        else { throw malformed(.nvReadPublic) }
        return area
    }

    /// Runs `body` with a session of the counter's TPM; throws if the TPM or the NV index is another one.
    fileprivate func withSession<Result>(
        of counter: CounterIdentity,
        _ body: (AuthSession) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let key = try storageKey(at: counter.storageKeyHandle, named: counter.storageKeyName)
        guard let area = try counterPublic(at: counter.index) else {
            throw failure("it is not in the TPM any more")
        }
        guard area.isCounter, area.attributes.contains(.written),
            try entityName(ofPublicArea: area.encoded) == counter.name
        else {
            throw failure("it was removed from the TPM, and the NV index was defined again")
        }
        return try withSession(.hmac, key, body)
    }

    fileprivate func increment(_ index: UInt32, name: [UInt8], _ session: AuthSession) throws(Failure) {
        var command = Command(.nvIncrement)
        command.handles = [.init(index, name: name), .init(index, name: name)]
        command.authorization = .session(session)
        let response = try run(command)
        guard response.parameters.remaining == 0 else { throw malformed(.nvIncrement) }
    }

    fileprivate func readCounter(_ index: UInt32, name: [UInt8], _ session: AuthSession) throws(Failure) -> UInt64 {
        var command = Command(.nvRead)
        command.handles = [.init(index, name: name), .init(index, name: name)]
        command.authorization = .session(session)
        // The whole counter: the size, then the offset.
        command.parameters.write(NVPublic.counterSize)
        command.parameters.write(UInt16(0))
        var response = try run(command)
        guard response.parameters.read(UInt16.self) == NVPublic.counterSize,
            let value = response.parameters.read(UInt64.self), response.parameters.remaining == 0
        else { throw malformed(.nvRead) }
        return value
    }

    fileprivate func undefine(_ index: UInt32) throws(Failure) {
        var command = Command(.nvUndefineSpace)
        command.handles = [.init(Handle.owner), .init(index)]
        command.authorization = .password
        _ = try runAsOwner(command, hint: HostTPM.clearOwner)
    }
}
