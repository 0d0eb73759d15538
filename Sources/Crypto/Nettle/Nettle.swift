import CNettle
import CryptoPrimitives
import Glibc
import Platform

/// The cryptographic primitives, computed by nettle, and by hogweed and GMP where there are large numbers.
///
/// It allocates nothing when it is loaded, and keeps nothing between two calls: a process writes to little memory of
/// its own. Contexts are wiped, since a key's schedule is as secret as the key.
public enum Nettle: PrimitiveLibrary {
    /// The longest key that HKDF derives, in bytes. RFC 5869, 2.3
    private static let hkdfLimit = 255 * AlgorithmSize.sha256Digest

    /// Does nothing: there is no configuration.
    public static func prepare() {}

    public static var computesAESByTables: Bool { !cnettle_has_aes_instructions() }

    /// Most of its functions cannot fail, and the others do not say why.
    public static func failure(_ what: String) -> Failure { Failure(what, because: "nettle: failed") }

    /// The kernel's generator is for secrets as for all else. getrandom(2)
    public static func fillRandom(_ output: UnsafeMutableRawBufferPointer, isSecret: Bool) -> Bool {
        var filled = 0
        while filled < output.count {
            let count = getrandom(output.baseAddress.map { $0 + filled }, output.count - filled, 0)
            guard count > 0 || count < 0 && errno == EINTR else { return false }
            filled += max(count, 0)
        }
        return true
    }

    // nettle, "Hash functions"
    public static func sha256(_ message: SecretMessage, into output: UnsafeMutableRawBufferPointer) -> Bool {
        precondition(output.count == AlgorithmSize.sha256Digest)
        return withContext { (context: UnsafeMutablePointer<sha256_ctx>) in
            nettle_sha256_init(context)
            let isDone = message.forEachPart { part in
                nettle_sha256_update(context, part.count, part.unsigned)
                return true
            }
            nettle_sha256_digest(context, output.count, output.unsigned)
            return isDone
        }
    }

    // nettle, "Keyed hash functions"
    public static func hmacSHA256(
        key: SecretBytes,
        _ bytes: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        precondition(output.count == AlgorithmSize.sha256Digest)
        return withContext { (context: UnsafeMutablePointer<hmac_sha256_ctx>) in
            key.withBytes { nettle_hmac_sha256_set_key(context, $0.count, $0.unsigned) }
            nettle_hmac_sha256_update(context, bytes.count, bytes)
            nettle_hmac_sha256_digest(context, output.count, output.unsigned)
            return true
        }
    }

    // nettle, "Key derivation functions"
    public static func hkdfSHA256(
        key: SecretBytes,
        salt: [UInt8],
        info: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        // nettle does not look, and would count the blocks from 0 again.
        guard (1...hkdfLimit).contains(output.count) else { return false }
        let size = AlgorithmSize.sha256Digest
        return withContext { (context: UnsafeMutablePointer<hmac_sha256_ctx>) in
            withWipedBytes(size) { pseudorandom in
                nettle_hmac_sha256_set_key(context, salt.count, salt)
                key.withBytes {
                    nettle_hkdf_extract(context, update, digest, size, $0.count, $0.unsigned, pseudorandom.unsigned)
                }
                nettle_hmac_sha256_set_key(context, size, pseudorandom.unsigned)
                nettle_hkdf_expand(context, update, digest, size, info.count, info, output.count, output.unsigned)
                return true
            }
        }
    }

    /// HMAC's update as nettle's generic functions call it.
    private static let update: @convention(c) (UnsafeMutableRawPointer?, Int, UnsafePointer<UInt8>?) -> Void = {
        nettle_hmac_sha256_update($0?.assumingMemoryBound(to: hmac_sha256_ctx.self), $1, $2)
    }
    private static let digest: @convention(c) (UnsafeMutableRawPointer?, Int, UnsafeMutablePointer<UInt8>?) -> Void = {
        nettle_hmac_sha256_digest($0?.assumingMemoryBound(to: hmac_sha256_ctx.self), $1, $2)
    }

    // nettle, "Constant-time comparisons" (memops.h)
    public static func isEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        precondition(one.count == other.count)
        return nettle_memeql_sec(one, other, one.count) != 0
    }

    /// Calls `body` with memory for a context, which is wiped when it returns.
    static func withContext<Context, Result>(_ body: (UnsafeMutablePointer<Context>) -> Result) -> Result {
        let context = UnsafeMutablePointer<Context>.allocate(capacity: 1)
        defer {
            explicit_bzero(context, MemoryLayout<Context>.size)
            context.deallocate()
        }
        return body(context)
    }

    /// Calls `body` with memory for bytes, which is wiped when it returns.
    static func withWipedBytes<Result>(_ count: Int, _ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) { bytes in
            defer { if let base = bytes.baseAddress { explicit_bzero(base, bytes.count) } }
            return body(bytes)
        }
    }
}
