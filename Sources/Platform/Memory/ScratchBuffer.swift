import Glibc

/// Memory for messages or commands, which is wiped when it is no longer used.
///
/// Only what is written to it takes memory, so that one for the largest message costs no more than a small message does.
public final class ScratchBuffer {
    private let memory: UnsafeMutableRawBufferPointer
    private let isLocked: Bool
    /// The number of bytes from the start that may have been written since the memory was last wiped.
    private var used = 0

    /// Allocates memory of this size, in bytes.
    public init(size: Int) {
        memory = .allocate(byteCount: size, alignment: 16)
        isLocked = false
    }

    /// Maps memory of this size, at least one byte, for messages with keys or states; it is locked where it is written.
    ///
    /// It is like the memory of ``SecretBytes``. mlock2(2), MLOCK_ONFAULT
    public init(lockedSize size: Int) throws(Failure) {
        let base = try SecretBytes.map(size, as: .lockedOnceWritten)
        memory = UnsafeMutableRawBufferPointer(start: base, count: size)
        isLocked = true
    }

    deinit {
        wipe()
        if isLocked { munmap(memory.baseAddress, memory.count) } else { memory.deallocate() }
    }

    /// The size of the memory, in bytes.
    public var size: Int { memory.count }

    /// Calls `body` to write to the memory, from its start on.
    ///
    /// `body` returns how many bytes it has written, or a negative number for an error. This function returns the same.
    @discardableResult
    public func write(_ body: (UnsafeMutableRawBufferPointer) -> Int) -> Int {
        defer { withExtendedLifetime(self) {} }
        let written = body(memory)
        precondition(written <= memory.count, "a call wrote past the end of its buffer")
        used = max(used, written)
        return written
    }

    /// Calls `body` with what was written since the memory was last wiped, which stays where it is until `body` returns.
    public func withBytes<Result: ~Copyable, E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> Result
    ) throws(E) -> Result {
        defer { withExtendedLifetime(self) {} }
        return try body(UnsafeMutableRawBufferPointer(rebasing: memory[..<used]))
    }

    /// Sets all bytes that were written to zero. explicit_bzero(3)
    public func wipe() {
        if let base = memory.baseAddress { explicit_bzero(base, used) }
        used = 0
    }
}
