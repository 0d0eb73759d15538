import Crypto
import Platform

/// A command to be sent. TPM 2.0 Library, Part 1, 18
struct Command {
    /// What a handle of a command stands for.
    struct Entity {
        let handle: UInt32
        /// What the command's HMAC is about: it makes a handle that somebody exchanged useless. Part 1, 16
        let name: [UInt8]

        init(_ handle: UInt32, name: [UInt8]) {
            self.handle = handle
            self.name = name
        }

        /// A hierarchy or a session: the handle is the name.
        init(_ handle: UInt32) {
            var name = ByteWriter()
            name.write(handle)
            self.init(handle, name: name.bytes)
        }
    }

    /// How the first handle's use is authorized.
    enum Authorization {
        case none
        /// The empty authorization value, with nothing protected.
        case password
        case session(AuthSession, SessionAttributes = [])
    }

    let code: CommandCode
    var handles: [Entity] = []
    var authorization = Authorization.none
    /// The contents of the first parameter, where it goes through the session encrypted.
    var secretParameter: SecretBytes?
    /// The parameters, without the secret one.
    var parameters = ByteWriter()
    /// Whether a handle stands in front of the response's parameters.
    var returnsHandle = false

    init(_ code: CommandCode) {
        self.code = code
    }

    /// The bytes to be sent; with a session, its next nonce is made.
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
            var area = ByteWriter()
            area.write(Handle.passwordSession)
            area.write(sized: [])
            area.write(SessionAttributes.continueSession.rawValue)
            area.write(sized: [])
            body.write(UInt32(area.bytes.count))
            body.write(area.bytes)
            body.write(parameters.bytes)
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

    private static func allAttributes(_ attributes: SessionAttributes, isSecret: Bool) -> SessionAttributes {
        let all = attributes.union(.continueSession)
        return isSecret ? all.union(.decrypt) : all
    }

    /// cpHash. Part 1, 16.7
    private func parameterHash(_ sent: [UInt8]) throws(Failure) -> [UInt8] {
        var data = ByteWriter()
        data.write(code.rawValue)
        for entity in handles { data.write(entity.name) }
        data.write(sent)
        return try SHA256.digest(data.bytes)
    }
}

/// A TPM's answer to a command, checked.
struct Response {
    /// Success, or an error that the caller has asked for.
    let code: ResponseCode
    /// The handle that the TPM gave to what the command made.
    var handle: UInt32 = 0
    /// The parameters, without one that was encrypted.
    var parameters = ByteReader([])
    /// The contents of the first parameter, where it came encrypted.
    var secret: SecretBytes?
}
