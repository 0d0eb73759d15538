import CNettle
import CryptoPrimitives
import Glibc
import Platform

extension Nettle: SessionLibrary {
    public typealias P256Key = NettleP256Key

    // nettle before 3.10 has no OAEP. GMP's manual, "Integer Exponentiation"
    public static func encryptOAEP(
        _ secret: SecretBytes,
        _ key: RSAPublicKey,
        label: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        precondition(output.count == key.modulus.count)
        return withWipedBytes(AlgorithmSize.sha256Digest) { seed in
            guard fillRandom(seed, isSecret: true),
                let encoded = OAEP.encode(secret, label: label, seed: UnsafeRawBufferPointer(seed), size: output.count)
            else { return false }
            let (message, modulus, result) = (encoded.withBytes { Number($0) }, Number(key.modulus), Number())
            let exponent = Number(withUnsafeBytes(of: key.exponent.bigEndian) { Array($0) })
            // Constant time, since the message is secret. The key has been examined: exponent above 0, odd modulus.
            __gmpz_powm_sec(&result.value, &message.value, &exponent.value, &modulus.value)
            return result.write(into: output)
        }
    }

    // nettle, "CFB and CFB8"
    public static func runCFB(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        keyAndVector: SecretBytes,
        encrypts: Bool
    ) -> Bool {
        let size = AlgorithmSize.aesBlock
        precondition(keyAndVector.count == 2 * size && output.count == input.count)
        return withContext { (context: UnsafeMutablePointer<aes128_ctx>) in
            keyAndVector.withBytes { bytes in
                nettle_aes128_set_encrypt_key(context, bytes.unsigned)
                // It is written to.
                var vector = Array(bytes.suffix(size))
                defer { explicit_bzero(&vector, size) }
                let run = encrypts ? nettle_cfb_encrypt : nettle_cfb_decrypt
                run(context, encryptBlocks, size, &vector, input.count, output.unsigned, input.unsigned)
                return true
            }
        }
    }

    /// AES as nettle's modes call it; CFB decrypts with it as well.
    private static let encryptBlocks:
        @convention(c) (UnsafeRawPointer?, Int, UnsafeMutablePointer<UInt8>?, UnsafePointer<UInt8>?) -> Void = {
            nettle_aes128_encrypt($0?.assumingMemoryBound(to: aes128_ctx.self), $1, $2, $3)
        }
}
