import CNettle
import CryptoPrimitives
import Glibc
import Platform

/// The encoding of a message before RSA encrypts it, with SHA-256. RFC 8017, 7.1.1
enum OAEP {
    private static let hashSize = AlgorithmSize.sha256Digest

    /// Encodes a secret into `size` bytes, as many as the modulus has; returns nil if it is too long or memory lacks.
    ///
    /// `seed` has 32 bytes, random ones.
    static func encode(
        _ secret: SecretBytes,
        label: [UInt8],
        seed: UnsafeRawBufferPointer,
        size: Int
    ) -> SecretBytes? {
        precondition(seed.count == hashSize)
        let padding = size - secret.count - 2 * hashSize - 2
        guard padding >= 0, let encoded = try? SecretBytes(capacity: size) else { return nil }
        // A zero, the seed, then the data block: the label's hash, zeros, a one, the secret.
        encoded.append { output in
            output.initializeMemory(as: UInt8.self, repeating: 0)
            let seedPlace = UnsafeMutableRawBufferPointer(rebasing: output[1..<1 + hashSize])
            let block = UnsafeMutableRawBufferPointer(rebasing: output[(1 + hashSize)...])
            seedPlace.copyMemory(from: seed)
            label.withUnsafeBytes { hash($0, into: UnsafeMutableRawBufferPointer(rebasing: block.prefix(hashSize))) }
            block[hashSize + padding] = 1
            secret.withBytes {
                UnsafeMutableRawBufferPointer(rebasing: block[(hashSize + padding + 1)...]).copyMemory(from: $0)
            }
            mask(block, from: UnsafeRawBufferPointer(seedPlace))
            mask(seedPlace, from: UnsafeRawBufferPointer(block))
            return size
        }
        return encoded
    }

    /// Adds MGF1 of `seed` to a target, bit by bit. RFC 8017, B.2.1
    private static func mask(_ target: UnsafeMutableRawBufferPointer, from seed: UnsafeRawBufferPointer) {
        Nettle.withWipedBytes(hashSize) { part in
            var counter: UInt32 = 0
            for start in stride(from: 0, to: target.count, by: hashSize) {
                withUnsafeBytes(of: counter.bigEndian) { hash(seed, $0, into: part) }
                for index in start..<min(start + hashSize, target.count) { target[index] ^= part[index - start] }
                counter += 1
            }
        }
    }

    private static func hash(
        _ bytes: UnsafeRawBufferPointer,
        _ more: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
        into output: UnsafeMutableRawBufferPointer
    ) {
        Nettle.withContext { (context: UnsafeMutablePointer<sha256_ctx>) in
            nettle_sha256_init(context)
            nettle_sha256_update(context, bytes.count, bytes.unsigned)
            nettle_sha256_update(context, more.count, more.unsigned)
            nettle_sha256_digest(context, output.count, output.unsigned)
        }
    }
}
