import CryptoPrimitives
import Platform

/// ECDH on P-256. NIST SP 800-56A
public enum Agreement<Library: SessionLibrary> {
    /// Makes a key for one agreement; returns its public key and the secret that it shares with a peer, 32 bytes.
    ///
    /// Throws if the peer's point is not on the curve.
    public static func withNewKey(
        _ peer: P256Point,
        _ what: String
    ) throws(Failure) -> (own: P256Point, secret: SecretBytes) {
        guard let key = Library.P256Key.generate() else { throw Library.failure(what) }
        return (key.point, try agree(key, peer, what))
    }

    /// Computes the secret that a key shares with a peer.
    static func agree(_ key: Library.P256Key, _ peer: P256Point, _ what: String) throws(Failure) -> SecretBytes {
        let secret = try SecretBytes(capacity: P256Point.coordinateSize)
        try secret.fill { (output) throws(Failure) in
            switch key.agree(with: peer, into: output) {
            case .secret: break
            case .notOnCurve: throw Failure(what, because: "the point is not on the curve P-256")
            case .failed: throw Library.failure(what)
            }
        }
        return secret
    }
}

/// RSA encryption with OAEP and SHA-256. RFC 8017, 7.1
public enum KeyTransport<Library: SessionLibrary> {
    /// Encrypts a secret with a public key; returns as many bytes as the modulus has.
    ///
    /// `label` is OAEP's `L`; `what` starts the errors. Throws if the secret is too long for the key.
    public static func encrypt(
        _ secret: SecretBytes,
        _ key: RSAPublicKey,
        label: [UInt8],
        _ what: String
    ) throws(Failure) -> [UInt8] {
        guard secret.count <= key.oaepLimit else {
            throw Failure(what, because: "\(secret.count) bytes are too many for the key")
        }
        var encrypted = [UInt8](repeating: 0, count: key.modulus.count)
        guard encrypted.withUnsafeMutableBytes({ Library.encryptOAEP(secret, key, label: label, into: $0) }) else {
            throw Library.failure(what)
        }
        return encrypted
    }
}

/// AES-128-CFB, which has no authentication: the caller adds an HMAC. NIST SP 800-38A, 6.3
public enum FeedbackEncryption<Library: SessionLibrary> {
    /// Encrypts with the key of 16 bytes and the initialization vector of 16 bytes that follows it.
    public static func encrypt(_ plaintext: SecretBytes, keyAndVector: SecretBytes) throws(Failure) -> [UInt8] {
        var ciphertext = [UInt8](repeating: 0, count: plaintext.count)
        let isDone = ciphertext.withUnsafeMutableBytes { output in
            plaintext.withBytes { Library.runCFB($0, into: output, keyAndVector: keyAndVector, encrypts: true) }
        }
        guard isDone else { throw Library.failure("cannot encrypt") }
        return ciphertext
    }

    /// Decrypts with the key of 16 bytes and the initialization vector of 16 bytes that follows it.
    public static func decrypt(_ ciphertext: [UInt8], keyAndVector: SecretBytes) throws(Failure) -> SecretBytes {
        let plaintext = try SecretBytes(capacity: max(ciphertext.count, 1))
        let written = plaintext.append { output in
            let target = UnsafeMutableRawBufferPointer(rebasing: output.prefix(ciphertext.count))
            let isDone = ciphertext.withUnsafeBytes {
                Library.runCFB($0, into: target, keyAndVector: keyAndVector, encrypts: false)
            }
            return isDone ? ciphertext.count : -1
        }
        guard written == ciphertext.count else { throw Library.failure("cannot decrypt") }
        return plaintext
    }
}
