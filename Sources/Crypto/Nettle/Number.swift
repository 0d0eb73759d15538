import CNettle
import CryptoPrimitives
import Glibc
import Platform

/// A large number that is not negative, whose memory is wiped when it is freed.
///
/// GMP's manual, "Integer Functions".
final class Number {
    /// What GMP's functions take; none of them may get it twice in one call.
    var value: __mpz_struct

    /// Creates zero.
    init() {
        LargeNumberMemory.isWiped
        value = __mpz_struct()
        __gmpz_init(&value)
    }

    /// Creates a number from its bytes, big-endian.
    convenience init(_ bytes: UnsafeRawBufferPointer) {
        self.init()
        __gmpz_import(&value, bytes.count, 1, 1, 1, 0, bytes.baseAddress)
    }

    convenience init(_ bytes: [UInt8]) {
        self.init()
        __gmpz_import(&value, bytes.count, 1, 1, 1, 0, bytes)
    }

    deinit { __gmpz_clear(&value) }

    /// Writes the number, big-endian, with zeros before it; returns false if it is longer than the output.
    func write(into output: UnsafeMutableRawBufferPointer) -> Bool {
        // For zero it is 1.
        let size = (__gmpz_sizeinbase(&value, 2) + 7) / 8
        guard size <= output.count else { return false }
        output.initializeMemory(as: UInt8.self, repeating: 0)
        __gmpz_export(output.baseAddress.map { $0 + (output.count - size) }, nil, 1, 1, 1, 0, &value)
        return true
    }

    /// The number as so many bytes, big-endian; nil if it is longer.
    func bytes(count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        return bytes.withUnsafeMutableBytes(write(into:)) ? bytes : nil
    }
}

/// The memory of GMP and hogweed, which holds private keys and what they are computed with.
enum LargeNumberMemory {
    /// Has GMP wipe memory before it frees it.
    ///
    /// Hogweed allocates by the same functions. GMP's manual, "Custom Allocation".
    static let isWiped: Void = __gmp_set_memory_functions(allocate, reallocate, free)

    // GMP does not look whether it gets memory.
    private static let allocate: @convention(c) (Int) -> UnsafeMutableRawPointer? = { size in
        guard let memory = malloc(size) else { abort() }
        return memory
    }
    private static let reallocate: @convention(c) (UnsafeMutableRawPointer?, Int, Int) -> UnsafeMutableRawPointer? = {
        old,
        oldSize,
        size in
        guard let memory = malloc(size) else { abort() }
        if let old {
            memory.copyMemory(from: old, byteCount: min(oldSize, size))
            explicit_bzero(old, oldSize)
            Glibc.free(old)
        }
        return memory
    }
    private static let free: @convention(c) (UnsafeMutableRawPointer?, Int) -> Void = { memory, size in
        guard let memory else { return }
        explicit_bzero(memory, size)
        Glibc.free(memory)
    }
}
