import CLinux
import Glibc

/// Memory for a key or a TPM's state: locked into RAM, left out of core dumps, and wiped with its owner.
///
/// mlock(2), madvise(2) MADV_DONTDUMP, explicit_bzero(3)
public final class SecretBytes {
    private let base: UnsafeMutableRawPointer
    /// The number of bytes that it can hold.
    public let capacity: Int
    /// The number of bytes that are in use.
    public private(set) var count = 0

    /// Maps and locks memory for this many bytes, at least one, none of which is in use yet.
    public init(capacity: Int) throws(Failure) {
        self.base = try Self.map(capacity, as: .locked)
        self.capacity = capacity
    }

    /// When memory is taken and locked.
    enum Locking {
        /// All of it at once.
        case locked
        /// Each page when it is written for the first time.
        case lockedOnceWritten
    }

    /// Maps memory that is in no swap and no core dump, all zero.
    static func map(_ size: Int, as locking: Locking) throws(Failure) -> UnsafeMutableRawPointer {
        let what = "cannot get \(size) bytes of locked memory"
        guard let base = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            base != MAP_FAILED
        else {
            throw Failure(what, call: "mmap", code: errno)
        }
        let call = locking == .locked ? "mlock" : "mlock2"
        guard (locking == .locked ? mlock(base, size) : mlock2(base, size, clinux_mlock_onfault)) == 0 else {
            let code = errno
            munmap(base, size)
            throw Failure(what, call: call, code: code, hint: "raise RLIMIT_MEMLOCK")
        }
        guard madvise(base, size, MADV_DONTDUMP) == 0 else {
            let code = errno
            munmap(base, size)
            throw Failure(what, call: "madvise", code: code)
        }
        return base
    }

    deinit {
        explicit_bzero(base, capacity)
        munmap(base, capacity)
    }

    /// Calls `body` with the bytes in use.
    ///
    /// There is no property with a pointer: an object ends with its last use, so the memory could be gone before the
    /// pointer is used.
    public func withBytes<Result: ~Copyable, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> Result
    ) throws(E) -> Result {
        defer { withExtendedLifetime(self) {} }
        return try body(UnsafeRawBufferPointer(start: base, count: count))
    }

    /// Calls `body` to fill the bytes that are not in use yet.
    ///
    /// `body` returns how many bytes it has written, or a negative number for an error. This function returns the same.
    @discardableResult
    public func append(_ body: (UnsafeMutableRawBufferPointer) -> Int) -> Int {
        let written = body(UnsafeMutableRawBufferPointer(start: base + count, count: capacity - count))
        precondition(written <= capacity - count, "a call wrote past the end of its buffer")
        if written > 0 { count += written }
        return written
    }

    /// Calls `body` to fill all of the memory.
    public func fill(_ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void) throws(Failure) {
        try body(UnsafeMutableRawBufferPointer(start: base, count: capacity))
        count = capacity
    }

    /// Appends a copy of bytes; if they do not fit, appends nothing and returns false.
    public func append(copying source: UnsafeRawBufferPointer) -> Bool {
        guard source.count <= capacity - count else { return false }
        (base + count).copyMemory(from: source.baseAddress ?? UnsafeRawPointer(base), byteCount: source.count)
        count += source.count
        return true
    }

    /// Appends a copy of bytes; if they do not fit, appends nothing and returns false.
    public func append(copying source: [UInt8]) -> Bool {
        source.withUnsafeBytes { append(copying: $0) }
    }

    /// Appends a copy of another's bytes; if they do not fit, appends nothing and returns false.
    public func append(copying source: SecretBytes) -> Bool {
        source.withBytes { append(copying: $0) }
    }

    /// Wipes all bytes; none is in use any more.
    public func wipe() {
        explicit_bzero(base, capacity)
        count = 0
    }
}
