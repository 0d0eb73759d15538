import Crypto
import CryptoTransfer
import Platform

/// What it costs to try one passphrase. RFC 7914
struct Scrypt: Equatable {
    /// What a file of ours costs: 128 MiB and about half a second.
    static let ours = Scrypt(logN: 17, r: 8, p: 1)
    /// Bytes of a salt.
    static let saltSize = 32
    /// The memory that a file may ask for, in bytes.
    static let memoryLimit: UInt64 = 256 << 20
    /// The work that a file may ask for, as N * r * p: eight times ours.
    static let workLimit: UInt64 = 1 << 23

    /// The logarithm of N to base 2.
    let logN: UInt8
    /// The block size.
    let r: UInt32
    /// The parallelisation.
    let p: UInt32

    /// Whether it can be computed at all, and asks for no more than a file may: the file says it, and anybody may have
    /// written the file.
    var isBearable: Bool {
        guard (1...30).contains(logN), (1...0xffff).contains(r), (1...0xffff).contains(p) else { return false }
        let n = UInt64(1) << UInt64(logN)
        // No overflow: 2^7 * 2^30 * 2^16, and 2^30 * 2^16 * 2^16.
        return 128 * n * UInt64(r) <= Self.memoryLimit && n * UInt64(r) * UInt64(p) <= Self.workLimit
    }

    /// The key that a passphrase stands for.
    func key(of passphrase: SecretBytes, salt: [UInt8]) throws(Failure) -> SecretBytes {
        try PassphraseKey.scrypt(
            passphrase,
            salt: salt,
            n: UInt64(1) << UInt64(logN),
            r: UInt64(r),
            p: UInt64(p),
            // libcrypto's own limit is 32 MiB. What is computed also has a few small buffers.
            memoryLimit: Self.memoryLimit + (16 << 20),
            size: AES256GCM.keySize
        )
    }
}
