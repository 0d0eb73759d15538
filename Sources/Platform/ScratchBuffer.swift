import Glibc

/// Memory that messages or commands are read into, wiped when it is no longer used.
public final class ScratchBuffer {
    @usableFromInline let memory: UnsafeMutableRawBufferPointer

    /// Allocates so many bytes, all zero.
    public init(size: Int) {
        memory = .allocate(byteCount: size, alignment: 16)
        wipe()
    }

    deinit {
        wipe()
        memory.deallocate()
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
