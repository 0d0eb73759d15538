import CLibCrypto
import Platform

/// A secret that only the TPM with a certain storage key learns. TPM 2.0 Library, Part 1, 19.6.13; annexes B.10.2, C.6.1
struct SessionSalt {
    /// The secret.
    let secret: SecretBytes
    /// What the TPM gets instead of it: the contents of a TPM2B_ENCRYPTED_SECRET.
    let encrypted: [UInt8]

    private static let label = "SECRET"
    private static let what = "cannot make a secret for the TPM"

    /// Makes a new one.
    init(for key: StorageKey) throws(Failure) {
        switch key.point {
        case .rsa(let modulus, let exponent): try self.init(modulus: modulus, exponent: exponent)
        case .p256(let x, let y): try self.init(x: x, y: y)
        }
    }

    /// RSA: the secret is random, and encrypted with OAEP, the label with its final zero as OAEP's `L`.
    private init(modulus: [UInt8], exponent: UInt32) throws(Failure) {
        let secret = try TPMCryptography.secretRandom(count: TPMCryptography.digestSize)
        let key = try Self.publicKey(.rsa(modulus: modulus, exponent: exponent))
        defer { EVP_PKEY_free(key) }
        let context = EVP_PKEY_CTX_new(key, nil)
        defer { EVP_PKEY_CTX_free(context) }
        guard context != nil, EVP_PKEY_encrypt_init(context) == 1,
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1,
            EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) == 1
        else { throw TPMCryptography.libcryptoFailure(Self.what) }
        // The context takes the label over, and frees it.
        let labelBytes = Array(Self.label.utf8) + [0]
        let label = CRYPTO_memdup(labelBytes, labelBytes.count, nil, 0)
        guard label != nil, EVP_PKEY_CTX_set0_rsa_oaep_label(context, label, CInt(labelBytes.count)) == 1 else {
            CRYPTO_free(label, nil, 0)
            throw TPMCryptography.libcryptoFailure(Self.what)
        }
        var encrypted = [UInt8](repeating: 0, count: modulus.count)
        var length = encrypted.count
        let good = secret.withBytes {
            EVP_PKEY_encrypt(context, &encrypted, &length, $0.bindMemory(to: UInt8.self).baseAddress, $0.count)
        }
        guard good == 1, length == encrypted.count else { throw TPMCryptography.libcryptoFailure(Self.what) }
        self.secret = secret
        self.encrypted = encrypted
    }

    /// ECC: the secret comes from ECDH with a key made for this once, whose point the TPM gets.
    private init(x: [UInt8], y: [UInt8]) throws(Failure) {
        let key = try Self.publicKey(.p256(x: x, y: y))
        defer { EVP_PKEY_free(key) }
        let own = try Self.makeKey()
        defer { EVP_PKEY_free(own) }
        let (ownX, ownY) = try Self.point(of: own)
        let context = EVP_PKEY_CTX_new(own, nil)
        defer { EVP_PKEY_CTX_free(context) }
        guard context != nil, EVP_PKEY_derive_init(context) == 1, EVP_PKEY_derive_set_peer(context, key) == 1 else {
            throw TPMCryptography.libcryptoFailure(Self.what)
        }
        let shared = try SecretBytes(capacity: DER.coordinateSize)
        try shared.fill { (target) throws(Failure) in
            var length = target.count
            guard EVP_PKEY_derive(context, target.bindMemory(to: UInt8.self).baseAddress, &length) == 1,
                length == target.count
            else { throw TPMCryptography.libcryptoFailure(Self.what) }
        }
        self.secret = try TPMCryptography.kdfe(shared: shared, label: Self.label, partyU: ownX, partyV: x)
        var point = ByteWriter()
        point.write(sized: ownX)
        point.write(sized: ownY)
        self.encrypted = point.bytes
    }

    /// The caller frees it.
    private static func publicKey(_ point: StorageKey.Point) throws(Failure) -> OpaquePointer {
        let encoded = DER.publicKeyInfo(point)
        let key = encoded.withUnsafeBufferPointer { bytes in
            var position = bytes.baseAddress
            return d2i_PUBKEY(nil, &position, bytes.count)
        }
        // Where the point is on no curve, for instance.
        guard let key else { throw TPMCryptography.libcryptoFailure("cannot use the TPM's storage key") }
        return key
    }

    /// The caller frees it.
    private static func makeKey() throws(Failure) -> OpaquePointer {
        let context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil)
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        guard context != nil, EVP_PKEY_keygen_init(context) == 1,
            EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1,
            EVP_PKEY_keygen(context, &key) == 1, let key
        else { throw TPMCryptography.libcryptoFailure(what) }
        return key
    }

    private static func point(of key: OpaquePointer) throws(Failure) -> (x: [UInt8], y: [UInt8]) {
        var encoded: UnsafeMutablePointer<UInt8>?
        let size = i2d_PUBKEY(key, &encoded)
        defer { CRYPTO_free(encoded, nil, 0) }
        guard size > 0, let encoded,
            let point = DER.point(ofPublicKeyInfo: Array(UnsafeBufferPointer(start: encoded, count: Int(size))))
        else { throw TPMCryptography.libcryptoFailure(what) }
        return point
    }
}

/// The encoding that libcrypto takes public keys in: SubjectPublicKeyInfo. RFC 5280, 4.1; RFC 3279, 2.3.1; RFC 5480, 2
enum DER {
    /// Bytes of a coordinate of P-256.
    static let coordinateSize = 32
    // rsaEncryption, with the NULL that its parameters are; id-ecPublicKey with secp256r1.
    private static let rsaAlgorithm: [UInt8] = [
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ]
    private static let p256Algorithm: [UInt8] = [
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
        0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ]
    private static let sequence: UInt8 = 0x30
    private static let integer: UInt8 = 0x02
    private static let bitString: UInt8 = 0x03
    private static let uncompressed: UInt8 = 0x04

    /// Encodes a public key.
    static func publicKeyInfo(_ point: StorageKey.Point) -> [UInt8] {
        switch point {
        case .rsa(let modulus, let exponent):
            var number = ByteWriter()
            number.write(exponent)
            let key = element(sequence, unsigned(modulus) + unsigned(number.bytes))
            return element(sequence, element(sequence, rsaAlgorithm) + element(bitString, [0] + key))
        case .p256(let x, let y):
            return element(sequence, element(sequence, p256Algorithm) + element(bitString, [0, uncompressed] + x + y))
        }
    }

    /// The coordinates of a point of P-256, which stand at the end.
    static func point(ofPublicKeyInfo info: [UInt8]) -> (x: [UInt8], y: [UInt8])? {
        let start = publicKeyInfo(.p256(x: [], y: [])).count
        guard info.count == start + 2 * coordinateSize, info[start - 1] == uncompressed else { return nil }
        return (Array(info[start..<start + coordinateSize]), Array(info[(start + coordinateSize)...]))
    }

    /// A number without a sign: no zeros in front but one where the first bit would read as a sign.
    private static func unsigned(_ bytes: [UInt8]) -> [UInt8] {
        let digits = Array(bytes.drop { $0 == 0 })
        return element(integer, (digits.first ?? 0x80) & 0x80 == 0 ? digits : [0] + digits)
    }

    private static func element(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        var size = ByteWriter()
        size.write(UInt32(content.count))
        let digits = Array(size.bytes.drop { $0 == 0 })
        let isShort = content.count < 0x80
        return [tag] + (isShort ? [UInt8(content.count)] : [0x80 | UInt8(digits.count)] + digits) + content
    }
}
