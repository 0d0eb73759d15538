import Crypto
import CryptoTransfer
import Platform

/// The parameters of scrypt, which determine the cost of one attempt at a passphrase. RFC 7914
struct Scrypt: Equatable {
    /// The parameters of our own exports: 128 MiB and about half a second.
    static let ours = Scrypt(logN: 17, r: 8, p: 1)
    /// The size of a salt, in bytes.
    static let saltSize = 32
    /// The most memory that a file may demand, in bytes.
    static let memoryLimit: UInt64 = 256 << 20
    /// The most work that a file may demand, as N * r * p: eight times that of ``ours``.
    static let workLimit: UInt64 = 1 << 23

    /// The base-2 logarithm of N.
    let logN: UInt8
    /// The block size.
    let r: UInt32
    /// The parallelization.
    let p: UInt32

    /// Whether the parameters are valid and within ``memoryLimit`` and ``workLimit``.
    ///
    /// They come from a file that anybody may have written.
    var isBearable: Bool {
        guard (1...30).contains(logN), (1...0xffff).contains(r), (1...0xffff).contains(p) else { return false }
        let n = UInt64(1) << UInt64(logN)
        // No overflow: 2^7 * 2^30 * 2^16, and 2^30 * 2^16 * 2^16.
        return 128 * n * UInt64(r) <= Self.memoryLimit && n * UInt64(r) * UInt64(p) <= Self.workLimit
    }

    /// Derives the key of AES-256-GCM from a passphrase.
    func key(of passphrase: SecretBytes, salt: [UInt8]) throws(Failure) -> SecretBytes {
        try PassphraseKey.scrypt(
            passphrase,
            salt: salt,
            n: UInt64(1) << UInt64(logN),
            r: UInt64(r),
            p: UInt64(p),
            // The default limit of libcrypto is 32 MiB. The computation also needs a few small buffers.
            memoryLimit: Self.memoryLimit + (16 << 20),
            size: AES256GCM.keySize
        )
    }
}
