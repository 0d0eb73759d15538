// What Swift's module Glibc adds to the C library's headers, as far as this project uses it.
@_exported import CGlibc

/// The number of the last error. errno(3)
@inlinable
public var errno: CInt {
    get { cglibc_errno().pointee }
    set { cglibc_errno().pointee = newValue }
}

/// Changes or asks for something of an open descriptor. fcntl(2)
@inlinable
public func fcntl(_ descriptor: CInt, _ command: CInt) -> CInt { cglibc_fcntl(descriptor, command, 0) }

/// Changes something of an open descriptor. fcntl(2)
@inlinable
public func fcntl(_ descriptor: CInt, _ command: CInt, _ value: CInt) -> CInt {
    cglibc_fcntl(descriptor, command, CLong(value))
}

/// Changes or asks for something of an open descriptor, by way of memory. fcntl(2)
@inlinable
public func fcntl(_ descriptor: CInt, _ command: CInt, _ value: UnsafeMutableRawPointer) -> CInt {
    cglibc_fcntl(descriptor, command, CLong(Int(bitPattern: value)))
}

/// Opens a file. open(2)
@inlinable
public func open(_ path: UnsafePointer<CChar>, _ flags: CInt) -> CInt { cglibc_openat(AT_FDCWD, path, flags, 0) }

/// Opens a file, relative to a directory. open(2)
@inlinable
public func openat(_ directory: CInt, _ path: UnsafePointer<CChar>, _ flags: CInt) -> CInt {
    cglibc_openat(directory, path, flags, 0)
}

/// Opens or makes a file, relative to a directory. open(2)
@inlinable
public func openat(_ directory: CInt, _ path: UnsafePointer<CChar>, _ flags: CInt, _ mode: mode_t) -> CInt {
    cglibc_openat(directory, path, flags, mode)
}

/// Asks a driver for something. ioctl(2)
@inlinable
public func ioctl(_ descriptor: CInt, _ request: CUnsignedLong, _ value: UnsafeMutableRawPointer) -> CInt {
    cglibc_ioctl(descriptor, request, value)
}

/// The bits of a mode that tell a file's kind. inode(7)
public var S_IFMT: mode_t { 0o170000 }
/// A character device. inode(7)
public var S_IFCHR: mode_t { 0o020000 }
/// A directory. inode(7)
public var S_IFDIR: mode_t { 0o040000 }
/// A FIFO. inode(7)
public var S_IFIFO: mode_t { 0o010000 }
/// A symbolic link. inode(7)
public var S_IFLNK: mode_t { 0o120000 }
/// A regular file. inode(7)
public var S_IFREG: mode_t { 0o100000 }
/// The bit of a directory in which only owners may remove files. inode(7)
public var S_ISVTX: mode_t { 0o001000 }
/// What mmap(2) returns in place of an address if it fails.
public var MAP_FAILED: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: -1) }
/// What a signal does without a handler. signal(7)
public var SIG_DFL: (@convention(c) (CInt) -> Void)? { nil }
/// Ignores a signal. signal(7)
public var SIG_IGN: (@convention(c) (CInt) -> Void)? { unsafeBitCast(1, to: (@convention(c) (CInt) -> Void)?.self) }

/// Rounds up, for the standard library's dictionaries, so that no program loads libm for it. ceil(3)
///
/// From 2^52 on, and for what is no number, there is nothing to round.
@_cdecl("ceil")
public func ceil(_ value: Double) -> Double {
    guard value.magnitude < 0x1p52 else { return value }
    let whole = Double(Int64(value))
    return whole < value ? whole + 1 : whole
}
