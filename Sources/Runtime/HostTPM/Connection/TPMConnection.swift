import Crypto
import Platform

/// The TPM, for one operation of ours, whose name all errors carry.
struct TPMConnection {
    let transport: any TPMTransport
    /// What is being done: `cannot seal a secret with the host's TPM`.
    let what: String
    /// Waits so many milliseconds.
    let pause: (Int) -> Void

    /// How often a command is sent: with the pauses between, for about 12 seconds.
    static let tries = 16

    func failure(_ why: String, hint: String? = nil) -> Failure {
        Failure(what, because: why, hint: hint)
    }

    /// A response that no TPM gives.
    func malformed(_ code: CommandCode) -> Failure {
        failure("\(code.name): the answer is not one of a TPM 2.0")
    }

    func refused(_ code: CommandCode, _ response: ResponseCode) -> Failure {
        failure("\(code.name): \(response)", hint: response.hint)
    }

    /// Sends a command and returns the response, once it was found to be whole and, in a session, to be genuine.
    ///
    /// An error of the TPM is thrown, except for those in `accepted`.
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
            // An error changes no session: the same bytes are good for another try. Part 1, 19.6.4
            if code.asksForAnotherTry, tries < Self.tries {
                pause(backoff.next())
                tries += 1
                continue
            }
            guard accepted.contains(where: code.isSame) else { throw refused(command.code, code) }
            return Response(code: code)
        }
    }

    /// Takes the answer to a command that succeeded apart: Part 1, 18.
    private func parse(_ reader: inout ByteReader, tag: UInt16, to command: Command) throws(Failure) -> Response {
        let malformed = malformed(command.code)
        var response = Response(code: .success)
        let hasSessions = if case .none = command.authorization { false } else { true }
        // The TPM answers a success with the command's own tag; another would leave the check below out.
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
            let authorization = ResponseAuthorization(&reader), reader.remaining == 0
        else { throw malformed }
        response.parameters = ByteReader(parameters)
        switch command.authorization {
        case .none, .password:
            guard authorization.nonce.isEmpty, authorization.hmac.isEmpty else { throw malformed }
        case .session(let session, let attributes):
            guard AuthSession.nonceSizes.contains(authorization.nonce.count) else { throw malformed }
            guard try session.accepts(authorization, parameterHash: parameterHash(parameters, of: command)) else {
                throw failure(
                    "\(command.code.name): the answer's HMAC is wrong: something between this host and its TPM changed it"
                )
            }
            if attributes.contains(.encrypt) {
                guard let encrypted = response.parameters.readSized() else { throw malformed }
                response.secret = try session.decrypt(encrypted)
            }
        }
        return response
    }

    /// The hash of a response's parameters, rpHash. Part 1, 16.8
    private func parameterHash(_ parameters: [UInt8], of command: Command) throws(Failure) -> [UInt8] {
        var data = ByteWriter()
        data.write(ResponseCode.success.rawValue)
        data.write(command.code.rawValue)
        data.write(parameters)
        return try SHA256.digest(data.bytes)
    }

    /// Removes an object or a session from the TPM's memory.
    ///
    /// A failure is no reason to throw away what was achieved: the kernel's resource manager flushes what is left when the
    /// device is closed (linux: drivers/char/tpm/tpm2-space.c).
    func flush(_ handle: UInt32) {
        var command = Command(.flushContext)
        command.parameters.write(handle)
        _ = try? run(command)
    }

    /// Begins a session whose secret only the TPM with this key can learn, and ends it in any case.
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
        // The symmetric algorithm of the parameter encryption, and the hash.
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

    /// Hands over the handle of an object that a command has made, and removes it from the TPM's memory in any case.
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
