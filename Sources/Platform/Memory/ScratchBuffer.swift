import Glibc

/// Memory for messages or commands, which is wiped when it is no longer used.
public final class ScratchBuffer {
    @usableFromInline let memory: UnsafeMutableRawBufferPointer
    private let isLocked: Bool

    /// Allocates memory of this size, all zero.
    public init(size: Int) {
        memory = .allocate(byteCount: size, alignment: 16)
        isLocked = false
        wipe()
    }

    /// Maps and locks memory of this size, at least one byte, for messages with keys or states.
    ///
    /// It is like the memory of ``SecretBytes``.
    public init(lockedSize size: Int) throws(Failure) {
        memory = UnsafeMutableRawBufferPointer(start: try SecretBytes.mapLocked(size), count: size)
        isLocked = true
    }

    deinit {
        wipe()
        if isLocked { munmap(memory.baseAddress, memory.count) } else { memory.deallocate() }
    }

    /// The size of the memory, in bytes.
    public var size: Int { memory.count }

    /// Calls `body` with the memory, which stays where it is until `body` returns.
    @inlinable
    public func withBytes<Result: ~Copyable, E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> Result
    ) throws(E) -> Result {
        defer { withExtendedLifetime(self) {} }
        return try body(memory)
    }

    /// Sets all bytes to zero. explicit_bzero(3)
    public func wipe() {
        if let base = memory.baseAddress { explicit_bzero(base, memory.count) }
    }
}
