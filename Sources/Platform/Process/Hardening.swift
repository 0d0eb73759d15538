import CLinux
import Glibc

/// What each of our programs does at its start to protect itself.
public enum Hardening {
    /// Makes this process unreadable to others of the same user, and keeps it out of core dumps.
    ///
    /// prctl(2) PR_SET_DUMPABLE; setrlimit(2) RLIMIT_CORE
    public static func protectMemory() throws(Failure) {
        let what = "cannot protect this process's memory"
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        try systemCall("setrlimit RLIMIT_CORE", what) { setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none) }
        try systemCall("prctl PR_SET_DUMPABLE", what) { clinux_prctl(PR_SET_DUMPABLE, 0) }
    }

    /// Keeps the programs that this process starts from gaining privileges. prctl(2) PR_SET_NO_NEW_PRIVS
    public static func forbidNewPrivileges() throws(Failure) {
        // The call requires its other arguments to be zero (prctl(2)); the shim passes zeros.
        try systemCall("prctl PR_SET_NO_NEW_PRIVS", "cannot give up new privileges") {
            clinux_prctl(PR_SET_NO_NEW_PRIVS, 1)
        }
    }

    /// Closes every descriptor from this number on, so that nothing of the engine's is kept open or passed on.
    ///
    /// Call it before the log is opened, which keeps a descriptor of its own. close_range(2)
    public static func closeInheritedDescriptors(from first: UInt32) throws(Failure) {
        try systemCall("close_range", "cannot close inherited descriptors") { close_range(first, UInt32.max, 0) }
    }

    /// Clears the environment, which can make libraries load other files. clearenv(3)
    public static func clearEnvironment() throws(Failure) {
        guard clearenv() == 0 else { throw Failure("cannot clear the environment", call: "clearenv", code: ENOMEM) }
    }

    /// Gives back the pages of the program's file that its start has touched.
    ///
    /// The Swift runtime runs most of its code once, and a vTPM that lives for months needs little of it. The pages are
    /// clean and shared. If one is needed again, it is mapped again from the page cache; the others can leave memory.
    /// Memory that the start has freed in the heap is given back as well. madvise(2) MADV_DONTNEED, malloc_trim(3)
    public static func releaseStartupPages() {
        for pages in ownPages() {
            // It is only advice: if it is not taken, nothing is lost. Locked pages would not be given back.
            munlock(UnsafeMutableRawPointer(bitPattern: pages.lowerBound), pages.count)
            madvise(UnsafeMutableRawPointer(bitPattern: pages.lowerBound), pages.count, MADV_DONTNEED)
        }
        malloc_trim(0)
    }

    /// Returns the addresses of the program's own code and constants: the whole pages of each segment that nobody writes. elf(5)
    ///
    /// Between two segments there can be room for pages that are not the program's: mmap(2) puts anything there, a key as well.
    static func ownPages() -> [Range<Int>] {
        guard let program = clinux_program_start() else { return [] }
        let pageSize = sysconf(CInt(_SC_PAGESIZE))
        let header = program.load(as: Elf64_Ehdr.self)
        let magic = header.e_ident
        guard magic.0 == 0x7f, magic.1 == UInt8(ascii: "E"), magic.2 == UInt8(ascii: "L"), magic.3 == UInt8(ascii: "F"),
            Int(header.e_phentsize) >= MemoryLayout<Elf64_Phdr>.size
        else { return [] }
        var bias: Int?
        var pages: [Range<Int>] = []
        for number in 0..<Int(header.e_phnum) {
            let offset = Int(header.e_phoff) + number * Int(header.e_phentsize)
            let segment = program.load(fromByteOffset: offset, as: Elf64_Phdr.self)
            guard segment.p_type == UInt32(PT_LOAD) else { continue }
            // The first one has the header; if it has not, nothing is known.
            guard bias != nil || segment.p_offset == 0 else { return [] }
            let base = bias ?? Int(bitPattern: program) - Int(segment.p_vaddr)
            bias = base
            guard segment.p_flags & UInt32(PF_W) == 0 else { continue }
            let start = (base + Int(segment.p_vaddr)) / pageSize * pageSize
            // In the last page another segment can begin.
            let end = (base + Int(segment.p_vaddr) + Int(segment.p_filesz)) / pageSize * pageSize
            if start < end { pages.append(start..<end) }
        }
        return pages
    }

    /// Sets how readily the out-of-memory killer chooses a process, or this one if none is named.
    ///
    /// The score goes from -1000 (never) to 1000 (first), and replaces the one that the engine has set. Returns false
    /// if it stays as it was: lowering it takes CAP_SYS_RESOURCE. That is no reason to refuse a TPM, since one whose
    /// worker is killed fails closed. proc(5), `/proc/PID/oom_score_adj`
    @discardableResult
    public static func setOutOfMemoryScore(_ score: Int, of process: pid_t? = nil) throws(Failure) -> Bool {
        let path = Procfs.path("oom_score_adj", of: process)
        let file = try Procfs().open(path, O_WRONLY)
        do {
            try file.writeAll(Array("\(score)".utf8), "/proc/\(path)")
            return true
        } catch let error where error.code == EACCES {
            return false
        }
    }
}
