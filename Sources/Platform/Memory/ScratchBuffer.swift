import Glibc

/// Memory that messages or commands are read into, wiped when it is no longer used.
public final class ScratchBuffer {
    @usableFromInline let memory: UnsafeMutableRawBufferPointer
    private let isLocked: Bool

    /// Allocates so many bytes, all zero.
    public init(size: Int) {
        memory = .allocate(byteCount: size, alignment: 16)
        isLocked = false
        wipe()
    }

    /// Maps and locks memory for so many bytes, at least one, as for ``SecretBytes``: for what keys and states pass through.
    public init(lockedSize size: Int) throws(Failure) {
        memory = UnsafeMutableRawBufferPointer(start: try SecretBytes.mapLocked(size), count: size)
        isLocked = true
    }

    deinit {
        wipe()
        if isLocked { munmap(memory.baseAddress, memory.count) } else { memory.deallocate() }
    }

    /// How many bytes there are.
    public var size: Int { memory.count }

    /// Lets a call read and write the memory, which stays where it is for that long.
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
