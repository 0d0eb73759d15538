import Crypto
import Platform
import VTPMProxy

/// A vTPM whose platform hierarchy is still open: its endorsement keys, and where it keeps their certificates.
///
/// Somebody may have taken the TPM over by the state that it has loaded: each answer may be anything.
package struct EndorsedTPM {
    let connection: TPMConnection

    /// The first NV index for the certificates above an endorsement key's. TCG EK Credential Profile, 2.2.1.4
    package static let chainIndex: UInt32 = 0x01c0_0100
    /// The NV index of the platform's certificate. TCG Registry of Reserved TPM 2.0 Handles and Localities, 2.2
    package static let platformIndex: UInt32 = 0x01c0_8000
    /// The largest contents of an index that are read, in bytes. libtpms: MAX_NV_INDEX_SIZE
    private static let readLimit = 2048
    /// How much one command reads or writes, in bytes. libtpms: MAX_NV_BUFFER_SIZE
    private static let chunkSize = 1024

    /// Creates it behind this transport.
    package init(over transport: any TPMTransport) {
        connection = HostTPM(transport: transport).link("cannot endorse the TPM")
    }

    // MARK: - Keys

    /// An endorsement key in the TPM's memory, until ``release(_:)``.
    package struct LoadedKey {
        package let key: IdentityKey
        fileprivate let handle: UInt32
    }

    /// Returns the key at its handle.
    package func kept(_ kind: IdentityKey.Kind) throws(Failure) -> LoadedKey {
        var read = Command(.readPublic)
        read.handles = [.init(kind.standard.handle)]
        var response = try connection.run(read)
        guard let area = response.parameters.readSized(), let key = IdentityKey(kind, decoding: area) else {
            throw connection.malformed(.readPublic)
        }
        return LoadedKey(key: key, handle: kind.standard.handle)
    }

    /// Makes a key anew from the TPM's seed.
    ///
    /// What is at the handle need not be it: a tenant can have put a key of its own choice there, with the same public head.
    package func derived(_ kind: IdentityKey.Kind) throws(Failure) -> LoadedKey {
        let (created, key) = try connection.createIdentityKey(kind)
        return LoadedKey(key: key, handle: created.handle)
    }

    /// Removes a key from the TPM's memory, unless it is persistent.
    package func release(_ loaded: LoadedKey) {
        if Handle.type(of: loaded.handle) == Handle.transientType { connection.flush(loaded.handle) }
    }

    /// Returns whether the endorsement hierarchy has an authorization, which nobody knows but the tenant. Part 2, 8.6
    package func isAuthorizationSet() throws(Failure) -> Bool {
        var command = Command(.getCapability)
        let (tpmProperties, one): (UInt32, UInt32) = (6, 1)
        for value in [tpmProperties, TPMCommand.permanentAttributes, one] { command.parameters.write(value) }
        var answer = try connection.run(command).parameters
        guard answer.read(UInt8.self) != nil, answer.read(UInt32.self) == tpmProperties,
            answer.read(UInt32.self) == one, answer.read(UInt32.self) == TPMCommand.permanentAttributes,
            let attributes = answer.read(UInt32.self), answer.remaining == 0
        else { throw connection.malformed(.getCapability) }
        return attributes & 2 != 0
    }

    /// Returns whether the TPM has the private part of a key: it opens a credential that was just made for it. Part 3, 12.5
    package func proves(_ loaded: LoadedKey) throws(Failure) -> Bool {
        let object = try connection.run(.sealedByte)
        return try connection.withObject(object, madeBy: .createPrimary) { (handle) throws(Failure) in
            var parameters = object.parameters
            guard let area = parameters.readSized() else { throw connection.malformed(.createPrimary) }
            return try opensCredential(of: loaded, for: handle, named: entityName(ofPublicArea: area))
        }
    }

    /// Returns whether the TPM opens a credential for an endorsement key that is bound to an object beside it.
    func opensCredential(of loaded: LoadedKey, for object: UInt32, named name: [UInt8]) throws(Failure) -> Bool {
        let credential = try Credential(for: loaded.key, objectName: name)
        var activate = Command(.activateCredential)
        activate.handles = [.init(object), .init(loaded.handle)]
        activate.parameters.write(sized: credential.blob)
        activate.parameters.write(sized: credential.encryptedSeed)
        let response: Response
        if loaded.key.kind.standard.template.isUsedByAuthorization {
            activate.authorization = .passwords
            response = try connection.run(activate)
        } else {
            response = try connection.withPolicySession { (session) throws(Failure) in
                activate.authorization = .passwordAndPolicy(session: session)
                return try connection.run(activate)
            }
        }
        var parameters = response.parameters
        guard let found = parameters.readSized(), parameters.remaining == 0 else {
            throw connection.malformed(.activateCredential)
        }
        return credential.isOpened(by: found)
    }

    // MARK: - Certificates

    /// What an NV index has.
    package enum Contents: Equatable {
        /// There is no such index.
        case nothing
        /// The platform has made it, with these contents.
        case platforms([UInt8])
        /// The platform has made it, and was interrupted before it has written it.
        case unwritten
        /// Somebody else has made it.
        case others
    }

    /// Reads an NV index.
    package func contents(of index: UInt32) throws(Failure) -> Contents {
        guard let area = try connection.nvPublic(index) else { return .nothing }
        guard area.isPlatforms else { return .others }
        guard area.attributes.contains(.written) else { return .unwritten }
        guard area.size <= Self.readLimit else { return .platforms([]) }
        var contents: [UInt8] = []
        while contents.count < area.size {
            let count = min(Int(area.size) - contents.count, Self.chunkSize)
            var read = Command(.nvRead)
            read.handles = [.init(Handle.platform), .init(index)]
            read.authorization = .password
            read.parameters.write(UInt16(count))
            read.parameters.write(UInt16(contents.count))
            var response = try connection.run(read)
            guard let part = response.parameters.readSized(), part.count == count else {
                throw connection.malformed(.nvRead)
            }
            contents += part
        }
        return .platforms(contents)
    }

    /// Removes an index that the platform has made, and has not locked.
    package func remove(_ index: UInt32) throws(Failure) {
        var command = Command(.nvUndefineSpace)
        command.handles = [.init(Handle.platform), .init(index)]
        command.authorization = .password
        _ = try connection.run(command)
    }

    /// Writes a new index for good; returns false if the TPM has no room for it.
    package func store(_ contents: [UInt8], at index: UInt32) throws(Failure) -> Bool {
        var define = Command(.nvDefineSpace)
        define.handles = [.init(Handle.platform)]
        define.authorization = .password
        define.parameters.write(sized: [])
        define.parameters.write(sized: NVPublic(certificate: index, size: UInt16(contents.count)).encoded)
        guard try connection.run(define, accepting: [.nvSpace]).code == .success else { return false }
        var offset = 0
        while offset < contents.count {
            let part = Array(contents[offset..<min(offset + Self.chunkSize, contents.count)])
            var write = platformCommand(.nvWrite, index)
            write.parameters.write(sized: part)
            write.parameters.write(UInt16(offset))
            _ = try connection.run(write)
            offset += part.count
        }
        // With TPMA_NV_WRITEDEFINE the lock is for good.
        _ = try connection.run(platformCommand(.nvWriteLock, index))
        return true
    }

    private func platformCommand(_ code: CommandCode, _ index: UInt32) -> Command {
        var command = Command(code)
        command.handles = [.init(Handle.platform), .init(index)]
        command.authorization = .password
        return command
    }
}

extension TPMConnection {
    /// Returns the public area of an NV index; nil if there is none. TPM2_NV_ReadPublic
    func nvPublic(_ index: UInt32) throws(Failure) -> NVPublic? {
        var command = Command(.nvReadPublic)
        command.handles = [.init(index)]
        var response = try run(command, accepting: [.handle])
        guard response.code == .success else { return nil }
        guard let bytes = response.parameters.readSized(), let area = NVPublic(decoding: bytes), area.index == index
        else { throw malformed(.nvReadPublic) }
        return area
    }

    /// Runs `body` with a session that satisfies the policy of an endorsement key, TPM2_PolicySecret with its hierarchy.
    func withPolicySession<Result>(
        _ body: (_ session: UInt32) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var start = Command(.startAuthSession)
        start.handles = [.init(Handle.null), .init(Handle.null)]
        // The nonce counts for nothing without an HMAC. No salt, no symmetric algorithm.
        start.parameters.write(sized: [UInt8](repeating: 0, count: AuthSession.nonceSize))
        start.parameters.write(sized: [])
        start.parameters.write(AuthSession.Kind.policy.rawValue)
        for value in [Algorithm.null, Algorithm.sha256] { start.parameters.write(value) }
        start.returnsHandle = true
        let session = try run(start).handle
        guard Handle.sessionTypes.contains(Handle.type(of: session)) else { throw malformed(.startAuthSession) }
        defer { flush(session) }
        var secret = Command(.policySecret)
        secret.handles = [.init(Handle.endorsement), .init(session)]
        secret.authorization = .password
        // No nonce, no parameters of one command, no reference; it does not expire.
        for _ in 0..<3 { secret.parameters.write(sized: []) }
        secret.parameters.write(UInt32(0))
        _ = try run(secret)
        return try body(session)
    }
}

extension Command {
    /// Makes an object that only is there, in the null hierarchy: what a credential is bound to. TPM2_CreatePrimary
    fileprivate static var sealedByte: Command {
        var area = ByteWriter()
        area.write(Algorithm.keyedHash)
        area.write(Algorithm.sha256)
        let attributes: ObjectAttributes = [.fixedTPM, .fixedParent, .userWithAuth, .noDA]
        area.write(attributes.rawValue)
        area.write(sized: [])
        area.write(Algorithm.null)
        area.write(sized: [])
        var create = Command(.createPrimary)
        create.handles = [.init(Handle.null)]
        create.authorization = .password
        // TPM2B_SENSITIVE_CREATE: an empty authorization value, and one byte of data.
        create.parameters.write(sized: [0, 0, 0, 1, 0])
        create.parameters.write(sized: area.bytes)
        create.parameters.write(sized: [])
        create.parameters.write(UInt32(0))
        create.returnsHandle = true
        return create
    }
}
