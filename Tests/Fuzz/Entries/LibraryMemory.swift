import Glibc
import Platform

/// The variables of a shared library, which can be put back as they were.
///
/// libtpms keeps a TPM in its variables alone, and a process has one TPM: this makes every input find the same one, and
/// so be repeatable. elf(5), program headers; proc(5), `/proc/PID/maps`
final class LibraryMemory {
    private let memory: UnsafeMutableRawBufferPointer
    private let copy: UnsafeMutableRawBufferPointer

    /// Copies the variables of the library whose file's name starts so.
    init(of name: String) {
        let maps = must { () throws(Failure) in
            let file = try Descriptor.open("/proc/self/maps", .read)
            return String(decoding: try file.readAll(limit: 16 << 20, "/proc/self/maps"), as: UTF8.self)
        }
        // The lowest mapping has the headers.
        guard let line = maps.split(separator: "\n").first(where: { $0.contains("/\(name).") }),
            let address = UInt(line.prefix { $0 != "-" }, radix: 16), let base = UnsafeRawPointer(bitPattern: address),
            let range = Self.variables(base),
            let start = UnsafeMutableRawPointer(bitPattern: address + range.lowerBound)
        else { fatalError("\(name) is not loaded") }
        memory = UnsafeMutableRawBufferPointer(start: start, count: range.count)
        copy = .allocate(byteCount: range.count, alignment: 16)
        copy.copyMemory(from: UnsafeRawBufferPointer(memory))
    }

    /// Puts the variables back.
    func restore() {
        memory.copyMemory(from: UnsafeRawBufferPointer(copy))
    }

    /// The writable segment, without the part at its start that the dynamic linker made read-only.
    private static func variables(_ base: UnsafeRawPointer) -> Range<UInt>? {
        func read<T: FixedWidthInteger>(_ offset: UInt, _ type: T.Type) -> UInt {
            UInt(base.loadUnaligned(fromByteOffset: Int(offset), as: type))
        }
        let (table, size, count) = (read(32, UInt64.self), read(54, UInt16.self), read(56, UInt16.self))
        var (start, end, readOnlyEnd): (UInt, UInt, UInt) = (0, 0, 0)
        for header in (0..<count).map({ table + $0 * size }) {
            let from = read(header + 16, UInt64.self)
            let to = from + read(header + 40, UInt64.self)
            switch (read(header, UInt32.self), read(header + 4, UInt32.self) & 2) {
            case (1, 2): (start, end) = (from, to)
            case (0x6474_e552, _): readOnlyEnd = to & ~4095
            default: break
            }
        }
        start = max(start, readOnlyEnd)
        return start < end ? start..<end : nil
    }
}
