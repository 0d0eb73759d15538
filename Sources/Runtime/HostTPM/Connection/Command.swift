import Crypto
import Platform

/// A command, before it is encoded. TPM 2.0 Library, Part 1, 18
struct Command {
    /// An entity in the handle area of a command.
    struct Entity {
        let handle: UInt32
        /// The entity's name, which the command's HMAC covers: a handle that was exchanged on the way fails. Part 1, 16
        let name: [UInt8]

        init(_ handle: UInt32, name: [UInt8]) {
            self.handle = handle
            self.name = name
        }

        /// Creates a hierarchy or a session, whose name is its handle.
        init(_ handle: UInt32) {
            var name = ByteWriter()
            name.write(handle)
            self.init(handle, name: name.bytes)
        }
    }

    /// The authorization for the first handle.
    enum Authorization {
        case none
        /// The empty authorization value for the first handle, and for the second one a policy session, whose policy asks for no
        /// HMAC.
        case passwordAndPolicy(session: UInt32)
        /// The empty authorization value, without an HMAC or encryption.
        case password
        /// The same, for each of the first two handles.
        case passwords
        case session(AuthSession, SessionAttributes = [])
        /// A session for the first handle, and for the second one the empty authorization value, or a policy session whose policy
        /// asks for no HMAC.
        case sessionAndPlain(AuthSession, second: UInt32)
    }

    let code: CommandCode
    var handles: [Entity] = []
    var authorization = Authorization.none
    /// The contents of the first parameter if it is to be encrypted by the session.
    var secretParameter: SecretBytes?
    /// The parameters, except the secret one.
    var parameters = ByteWriter()
    /// Whether the response has a handle before its parameters.
    var returnsHandle = false

    init(_ code: CommandCode) {
        self.code = code
    }

    /// Encodes the command; also makes the session's next nonce.
    func encoded() throws(Failure) -> [UInt8] {
        var body = ByteWriter()
        for entity in handles { body.write(entity.handle) }
        let tag: UInt16
        switch authorization {
        case .none:
            tag = StructureTag.noSessions
            body.write(parameters.bytes)
        case .password:
            tag = StructureTag.sessions
            write(Self.plain(Handle.passwordSession), into: &body)
        case .passwords:
            tag = StructureTag.sessions
            write(Self.plain(Handle.passwordSession) + Self.plain(Handle.passwordSession), into: &body)
        case .passwordAndPolicy(let session):
            tag = StructureTag.sessions
            write(Self.plain(Handle.passwordSession) + Self.plain(session), into: &body)
        case .sessionAndPlain(let session, let second):
            tag = StructureTag.sessions
            try session.rollNonce()
            let hash = try parameterHash(parameters.bytes)
            write(try session.authorization(parameterHash: hash, .continueSession) + Self.plain(second), into: &body)
        case .session(let session, let attributes):
            tag = StructureTag.sessions
            try session.rollNonce()
            var sent = ByteWriter()
            if let secretParameter { sent.write(sized: try session.encrypt(secretParameter)) }
            sent.write(parameters.bytes)
            let area = try session.authorization(
                parameterHash: parameterHash(sent.bytes),
                Self.allAttributes(attributes, isSecret: secretParameter != nil)
            )
            body.write(UInt32(area.count))
            body.write(area)
            body.write(sent.bytes)
        }
        var whole = ByteWriter()
        whole.write(tag)
        whole.write(UInt32(10 + body.bytes.count))
        whole.write(code.rawValue)
        whole.write(body.bytes)
        return whole.bytes
    }

    /// Writes an authorization area that has no HMAC, and the parameters.
    private func write(_ area: [UInt8], into body: inout ByteWriter) {
        body.write(UInt32(area.count))
        body.write(area)
        body.write(parameters.bytes)
    }

    /// Returns the TPMS_AUTH_COMMAND of a session without nonce and HMAC. Part 2, 10.13.2
    private static func plain(_ session: UInt32) -> [UInt8] {
        var area = ByteWriter()
        area.write(session)
        area.write(sized: [])
        area.write(SessionAttributes.continueSession.rawValue)
        area.write(sized: [])
        return area.bytes
    }

    private static func allAttributes(_ attributes: SessionAttributes, isSecret: Bool) -> SessionAttributes {
        let all = attributes.union(.continueSession)
        return isSecret ? all.union(.decrypt) : all
    }

    /// Computes the hash of the command's parameters, cpHash. Part 1, 16.7
    private func parameterHash(_ sent: [UInt8]) throws(Failure) -> [UInt8] {
        var data = ByteWriter()
        data.write(code.rawValue)
        for entity in handles { data.write(entity.name) }
        data.write(sent)
        return try SHA256.digest(data.bytes)
    }
}

/// A response that has been checked.
struct Response {
    /// Success, or an error that the caller accepts.
    let code: ResponseCode
    /// The handle of the object or session that the command created; 0 if there is none.
    var handle: UInt32 = 0
    /// The parameters, except an encrypted one.
    var parameters = ByteReader([])
    /// The decrypted contents of the first parameter; nil if it was not encrypted.
    var secret: SecretBytes?
}
