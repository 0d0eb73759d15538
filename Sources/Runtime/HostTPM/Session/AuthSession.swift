import Crypto
import Platform

/// A salted session: only the TPM that can decrypt the salt can take part in it. TPM 2.0 Library, Part 1, 19
///
/// For an entity with an empty authorization value, the session key is the whole key of the HMACs and of the parameter
/// encryption.
final class AuthSession {
    /// TPM_SE. Part 2, 6.11
    enum Kind: UInt8 {
        case hmac = 0
        case policy = 1
    }

    /// The session's handle, which is also its name.
    let handle: UInt32
    private let key: SecretBytes
    /// The authorization value of the entity that the next commands are for; nil if it is empty.
    ///
    /// No parameter of such a command is encrypted.
    var authorizationValue: SecretBytes?
    private var nonceTPM: [UInt8]
    private var nonceCaller: [UInt8]

    /// The size of our nonces, in bytes.
    static let nonceSize = 32
    /// The sizes that a TPM's nonce may have, in bytes. Part 1, 19.6.4
    static let nonceSizes = 16...64

    /// Derives the key of a session that the TPM has started. Part 1, 19.6.8
    init(handle: UInt32, salt: SecretBytes, nonceTPM: [UInt8], nonceCaller: [UInt8]) throws(Failure) {
        self.handle = handle
        self.key = try TPMKeyDerivation.kdfa(key: salt, label: "ATH", contextU: nonceTPM, contextV: nonceCaller)
        self.nonceTPM = nonceTPM
        self.nonceCaller = nonceCaller
    }

    /// Makes the nonce of the next command; a response to an earlier command is then rejected.
    func rollNonce() throws(Failure) {
        nonceCaller = try Random.bytes(count: Self.nonceSize)
    }

    /// Encrypts a command's first parameter. Part 1, 21.3
    func encrypt(_ parameter: SecretBytes) throws(Failure) -> [UInt8] {
        let key = try parameterKey(newer: nonceCaller, older: nonceTPM)
        return try AESCFB.encrypt(parameter, keyAndVector: key)
    }

    /// Decrypts a response's first parameter. Part 1, 21.3
    ///
    /// Call it only after ``accepts(_:parameterHash:)`` has returned true.
    func decrypt(_ parameter: [UInt8]) throws(Failure) -> SecretBytes {
        let key = try parameterKey(newer: nonceTPM, older: nonceCaller)
        return try AESCFB.decrypt(parameter, keyAndVector: key)
    }

    private func parameterKey(newer: [UInt8], older: [UInt8]) throws(Failure) -> SecretBytes {
        try TPMKeyDerivation.kdfa(key: key, label: "CFB", contextU: newer, contextV: older)
    }

    /// Returns a command's authorization area for this session, a TPMS_AUTH_COMMAND. Part 2, 10.13.2
    func authorization(parameterHash: [UInt8], _ attributes: SessionAttributes) throws(Failure) -> [UInt8] {
        var area = ByteWriter()
        area.write(handle)
        area.write(sized: nonceCaller)
        area.write(attributes.rawValue)
        area.write(
            sized: try HMACSHA256.tag(
                key: hmacKey(),
                parameterHash + nonceCaller + nonceTPM + [attributes.rawValue]
            )
        )
        return area.bytes
    }

    /// The session key, and the authorization value after it. Part 1, 19.6.5
    private func hmacKey() throws(Failure) -> SecretBytes {
        guard let authorizationValue else { return key }
        let whole = try SecretBytes(capacity: key.count + authorizationValue.count)
        guard whole.append(copying: key), whole.append(copying: authorizationValue) else {
            throw Failure("cannot use the host's TPM", because: "a key does not fit")
        }
        return whole
    }

    /// Returns whether a response is the TPM's response to the last command, and records its nonce. Part 1, 19.6.3.2
    func accepts(_ response: ResponseAuthorization, parameterHash: [UInt8]) throws(Failure) -> Bool {
        let expected = try HMACSHA256.tag(
            key: hmacKey(),
            parameterHash + response.nonce + nonceCaller + [response.attributes]
        )
        guard HMACSHA256.areEqual(expected, response.hmac) else { return false }
        nonceTPM = response.nonce
        return true
    }
}

/// A response's authorization area, a TPMS_AUTH_RESPONSE. Part 2, 10.13.3
struct ResponseAuthorization {
    let nonce: [UInt8]
    let attributes: UInt8
    let hmac: [UInt8]

    init?(_ reader: inout ByteReader) {
        guard let nonce = reader.readSized(), let attributes = reader.read(UInt8.self), let hmac = reader.readSized()
        else { return nil }
        self.nonce = nonce
        self.attributes = attributes
        self.hmac = hmac
    }
}
