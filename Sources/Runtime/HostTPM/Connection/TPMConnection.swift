import Crypto
import Platform

/// A connection to the TPM for one operation, which all errors name.
struct TPMConnection {
    let transport: any TPMTransport
    /// The start of every error: `cannot seal a secret with the host's TPM`.
    let what: String
    /// Sleeps for this many milliseconds.
    let pause: (Int) -> Void

    /// The most times that a command is sent; the pauses add up to about 11 seconds.
    static let tries = 16

    func failure(_ why: String, hint: String? = nil) -> Failure {
        Failure(what, because: why, hint: hint)
    }

    /// Returns the error for a response that violates the specification.
    func malformed(_ code: CommandCode) -> Failure {
        failure("\(code.name): the answer is not one of a TPM 2.0")
    }

    func refused(_ code: CommandCode, _ response: ResponseCode) -> Failure {
        failure("\(code.name): \(response)", hint: response.hint)
    }

    /// Sends a command and returns its response after checking the size and, in a session, the HMAC.
    ///
    /// A busy TPM is asked again, up to ``tries`` times. Other errors of the TPM are thrown, except those in
    /// `accepted`.
    func run(_ command: Command, accepting accepted: [ResponseCode] = []) throws(Failure) -> Response {
        let bytes = try command.encoded()
        var tries = 1
        var backoff = Backoff(first: 40, limit: 1000)
        while true {
            let raw = try transport.transmit(bytes)
            var reader = ByteReader(raw)
            guard let tag = reader.read(UInt16.self), let size = reader.read(UInt32.self), Int(size) == raw.count,
                let number = reader.read(UInt32.self)
            else { throw malformed(command.code) }
            let code = ResponseCode(number)
            guard code != .success else {
                return try parse(&reader, tag: tag, to: command)
            }
            // An error leaves the session's nonces unchanged, so the same bytes can be sent again. Part 1, 19.6.4
            if code.asksForAnotherTry, tries < Self.tries {
                pause(backoff.next())
                tries += 1
                continue
            }
            guard accepted.contains(where: code.isSame) else { throw refused(command.code, code) }
            return Response(code: code)
        }
    }

    /// Parses the response to a command that succeeded. Part 1, 18
    private func parse(_ reader: inout ByteReader, tag: UInt16, to command: Command) throws(Failure) -> Response {
        let malformed = malformed(command.code)
        var response = Response(code: .success)
        let hasSessions = if case .none = command.authorization { false } else { true }
        // A successful response has the command's own tag. Without this check, another tag would skip the HMAC below.
        guard tag == (hasSessions ? StructureTag.sessions : StructureTag.noSessions) else { throw malformed }
        if command.returnsHandle {
            guard let handle = reader.read(UInt32.self) else { throw malformed }
            response.handle = handle
        }
        guard hasSessions else {
            guard let parameters = reader.read(count: reader.remaining) else { throw malformed }
            response.parameters = ByteReader(parameters)
            return response
        }
        guard let size = reader.read(UInt32.self), let parameters = reader.read(count: Int(size)),
            let authorization = ResponseAuthorization(&reader)
        else { throw malformed }
        switch command.authorization {
        case .passwords, .passwordAndPolicy, .sessionAndPlain:
            guard ResponseAuthorization(&reader) != nil else { throw malformed }
        case .none, .password, .session: break
        }
        guard reader.remaining == 0 else { throw malformed }
        response.parameters = ByteReader(parameters)
        switch command.authorization {
        case .none, .password, .passwords, .passwordAndPolicy:
            guard authorization.nonce.isEmpty, authorization.hmac.isEmpty else { throw malformed }
        case .sessionAndPlain(let session, _):
            try check(authorization, session, parameters, command, malformed)
        case .session(let session, let attributes):
            try check(authorization, session, parameters, command, malformed)
            if attributes.contains(.encrypt) {
                guard let encrypted = response.parameters.readSized() else { throw malformed }
                response.secret = try session.decrypt(encrypted)
            }
        }
        return response
    }

    /// Throws unless a response's HMAC is the TPM's.
    private func check(
        _ authorization: ResponseAuthorization,
        _ session: AuthSession,
        _ parameters: [UInt8],
        _ command: Command,
        _ malformed: Failure
    ) throws(Failure) {
        guard AuthSession.nonceSizes.contains(authorization.nonce.count) else { throw malformed }
        guard try session.accepts(authorization, parameterHash: parameterHash(parameters, of: command)) else {
            throw failure(
                "\(command.code.name): the answer's HMAC is wrong: something between this host and its TPM changed it"
            )
        }
    }

    /// Computes the hash of a response's parameters, rpHash. Part 1, 16.8
    private func parameterHash(_ parameters: [UInt8], of command: Command) throws(Failure) -> [UInt8] {
        var data = ByteWriter()
        data.write(ResponseCode.success.rawValue)
        data.write(command.code.rawValue)
        data.write(parameters)
        return try SHA256.digest(data.bytes)
    }

    /// Removes an object or a session from the TPM's memory. TPM2_FlushContext
    ///
    /// Ignores errors: when the device is closed, the kernel's resource manager flushes everything that is left (linux:
    /// drivers/char/tpm/tpm2-space.c).
    func flush(_ handle: UInt32) {
        var command = Command(.flushContext)
        command.parameters.write(handle)
        _ = try? run(command)
    }

    /// Runs `body` with a session that is salted for the TPM with this key, and always flushes it.
    /// TPM2_StartAuthSession
    func withSession<Result>(
        _ kind: AuthSession.Kind,
        _ key: StorageKey,
        _ body: (AuthSession) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let salt = try SessionSalt(for: key)
        let nonce = try Random.bytes(count: AuthSession.nonceSize)
        var command = Command(.startAuthSession)
        command.handles = [.init(key.handle, name: key.name), .init(Handle.null)]
        command.parameters.write(sized: nonce)
        command.parameters.write(sized: salt.encrypted)
        command.parameters.write(kind.rawValue)
        // The symmetric algorithm of the parameter encryption, then the session's hash.
        for value in [Algorithm.aes, 128, Algorithm.cfb, Algorithm.sha256] { command.parameters.write(value) }
        command.returnsHandle = true
        var response = try run(command)
        let handle = response.handle
        guard Handle.sessionTypes.contains(Handle.type(of: handle)) else { throw malformed(command.code) }
        defer { flush(handle) }
        guard let nonceTPM = response.parameters.readSized(), AuthSession.nonceSizes.contains(nonceTPM.count),
            response.parameters.remaining == 0
        else { throw malformed(command.code) }
        return try body(AuthSession(handle: handle, salt: salt.secret, nonceTPM: nonceTPM, nonceCaller: nonce))
    }

    /// Runs `body` with the handle of the transient object in a response, and always flushes the object.
    func withObject<Result>(
        _ response: Response,
        madeBy code: CommandCode,
        _ body: (_ handle: UInt32) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard Handle.type(of: response.handle) == Handle.transientType else { throw malformed(code) }
        defer { flush(response.handle) }
        return try body(response.handle)
    }
}
