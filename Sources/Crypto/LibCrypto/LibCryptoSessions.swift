import CLibCrypto
import CryptoPrimitives
import Platform

extension LibCryptoPrimitives: SessionLibrary {
    public typealias P256Key = LibCryptoP256Key

    private nonisolated(unsafe) static let cfb128 = LibCryptoCipher("AES-128-CFB")

    // EVP_PKEY_encrypt(3)
    public static func encryptOAEP(
        _ secret: SecretBytes,
        _ key: RSAPublicKey,
        label: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        precondition(output.count == key.modulus.count)
        let info = PublicKeyInfo.rsa(modulus: key.modulus, exponent: key.exponent)
        guard let key = info.withUnsafeBytes(LibCryptoKey.decode(publicKey:)) else { return false }
        // The context keeps the key.
        let context = key.withPointer { EVP_PKEY_CTX_new($0, nil) }
        defer { EVP_PKEY_CTX_free(context) }
        guard context != nil, EVP_PKEY_encrypt_init(context) == 1,
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1,
            EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) == 1
        else { return false }
        if !label.isEmpty {
            // On success, the context takes ownership of the label. EVP_PKEY_CTX_set0_rsa_oaep_label(3)
            let copy = CRYPTO_memdup(label, label.count, nil, 0)
            guard copy != nil, EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy, CInt(label.count)) == 1 else {
                CRYPTO_free(copy, nil, 0)
                return false
            }
        }
        var length = output.count
        return secret.withBytes { EVP_PKEY_encrypt(context, output.unsigned, &length, $0.unsigned, $0.count) } == 1
            && length == output.count
    }

    public static func runCFB(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        keyAndVector: SecretBytes,
        encrypts: Bool
    ) -> Bool {
        precondition(keyAndVector.count == 2 * AlgorithmSize.aesBlock)
        return keyAndVector.withBytes { bytes in
            let key = bytes.unsigned
            let vector = key.map { $0 + AlgorithmSize.aesBlock }
            return cfb128.run(input, into: output, key: key, vector: vector, encrypts: encrypts)
        }
    }
}

/// A private key on P-256.
public final class LibCryptoP256Key: P256PrivateKey {
    public let point: P256Point
    private let key: LibCryptoKey

    // ECPrivateKey around the number: version 1, and the curve's name. RFC 5915, 3
    private static let head: [UInt8] = [0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20]
    private static let curve: [UInt8] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]

    private init?(_ key: LibCryptoKey?) {
        guard let key, let info = key.encodePublicKey(), let point = PublicKeyInfo.point(of: info) else { return nil }
        self.key = key
        self.point = point
    }

    public static func generate() -> LibCryptoP256Key? {
        LibCryptoP256Key(LibCryptoKey.generate(EVP_PKEY_EC, curve: SN_X9_62_prime256v1))
    }

    public static func key(scalar: SecretBytes) -> LibCryptoP256Key? {
        guard scalar.count == P256Point.coordinateSize else { return nil }
        let encoded = head + scalar.withBytes { Array($0) } + curve
        // Decoding does not look whether the number is below the order.
        guard let key = encoded.withUnsafeBytes(LibCryptoKey.decode(privateKey:)), key.hasPrivateNumber else {
            ERR_clear_error()
            return nil
        }
        return LibCryptoP256Key(key)
    }

    public func agree(with peer: P256Point, into output: UnsafeMutableRawBufferPointer) -> P256Agreed {
        guard let peer = PublicKeyInfo.p256(peer).withUnsafeBytes(LibCryptoKey.decode(publicKey:)) else {
            ERR_clear_error()
            return .notOnCurve
        }
        return key.agree(with: peer, into: output) ? .secret : .failed
    }
}
