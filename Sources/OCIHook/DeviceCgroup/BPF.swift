import CLinux
import Glibc
import Platform

/// The device programs that are attached to one cgroup, without those of the cgroups above it.
struct AttachedPrograms: Equatable, Sendable {
    /// The programs' IDs, as `bpftool prog` shows them.
    var programs: [UInt32]
    /// The attach flags: `BPF_F_ALLOW_MULTI`, `BPF_F_ALLOW_OVERRIDE` or 0.
    var flags: UInt32
}

/// The commands of bpf(2) for device programs, which tests replace by an implementation in memory.
protocol BPF {
    /// Returns the programs that are attached to a cgroup, by its open directory.
    func query(_ cgroup: CInt) throws(Failure) -> AttachedPrograms
    /// Opens the program with this ID.
    func open(_ program: UInt32) throws(Failure) -> Descriptor
    /// Opens the device program that is pinned at a path of a BPF file system.
    func open(pinnedAt path: String) throws(Failure) -> Descriptor
    /// Pins a program at a path of a BPF file system, at which there must be nothing.
    func pin(_ program: borrowing Descriptor, at path: String) throws(Failure)
    /// Returns the ID of a program.
    func identifier(of program: borrowing Descriptor) throws(Failure) -> UInt32
    /// Returns the instructions of a program; the array is empty if the kernel hides them.
    func dump(_ program: borrowing Descriptor) throws(Failure) -> [BPFInstruction]
    /// Loads a program, which the kernel's verifier checks.
    func load(_ instructions: [BPFInstruction]) throws(Failure) -> Descriptor
    /// Attaches a program to a cgroup; replaces another program if one is given.
    func attach(_ program: CInt, to cgroup: CInt, flags: UInt32, replacing old: CInt?) throws(Failure)
}

/// The running kernel's bpf(2).
struct KernelBPF: BPF {
    /// BPF_PROG_QUERY without `BPF_F_QUERY_EFFECTIVE`, so without the programs of the cgroups above.
    func query(_ cgroup: CInt) throws(Failure) -> AttachedPrograms {
        // The kernel attaches at most 64 programs of a type to a cgroup (BPF_CGROUP_MAX_PROGS, kernel/bpf/cgroup.c).
        let programs = UnsafeMutableBufferPointer<UInt32>.allocate(capacity: 64)
        defer { programs.deallocate() }
        programs.initialize(repeating: 0)
        var attributes = bpf_attr()
        attributes.query.target_fd = UInt32(bitPattern: cgroup)
        attributes.query.attach_type = BPF_CGROUP_DEVICE.rawValue
        attributes.query.prog_ids = Self.address(programs.baseAddress)
        attributes.query.prog_cnt = UInt32(programs.count)
        try Self.call(BPF_PROG_QUERY, "bpf BPF_PROG_QUERY", "cannot list device filters", &attributes)
        let count = min(Int(attributes.query.prog_cnt), programs.count)
        return AttachedPrograms(programs: Array(programs[..<count]), flags: attributes.query.attach_flags)
    }

    /// BPF_PROG_GET_FD_BY_ID.
    func open(_ program: UInt32) throws(Failure) -> Descriptor {
        var attributes = bpf_attr()
        attributes.prog_id = program
        let what = "cannot open device filter \(program)"
        return Descriptor(
            owning: try Self.call(BPF_PROG_GET_FD_BY_ID, "bpf BPF_PROG_GET_FD_BY_ID", what, &attributes)
        )
    }

    /// BPF_OBJ_GET.
    func open(pinnedAt path: String) throws(Failure) -> Descriptor {
        let what = "cannot open the device filter \(path)"
        let program = Descriptor(
            owning: try path.utf8CString.withUnsafeBufferPointer { (name) throws(Failure) in
                var attributes = bpf_attr()
                attributes.pathname = Self.address(name.baseAddress)
                return try Self.call(BPF_OBJ_GET, "bpf BPF_OBJ_GET", what, &attributes)
            }
        )
        guard try information(program, into: nil).type == BPF_PROG_TYPE_CGROUP_DEVICE.rawValue else {
            throw Failure(what, because: "it is none")
        }
        return program
    }

    /// BPF_OBJ_PIN.
    func pin(_ program: borrowing Descriptor, at path: String) throws(Failure) {
        let number = program.number
        try path.utf8CString.withUnsafeBufferPointer { (name) throws(Failure) in
            var attributes = bpf_attr()
            attributes.pathname = Self.address(name.baseAddress)
            attributes.bpf_fd = UInt32(bitPattern: number)
            _ = try Self.call(BPF_OBJ_PIN, "bpf BPF_OBJ_PIN", "cannot pin a device filter at \(path)", &attributes)
        }
    }

    /// BPF_OBJ_GET_INFO_BY_FD.
    func identifier(of program: borrowing Descriptor) throws(Failure) -> UInt32 {
        try information(program, into: nil).id
    }

    /// BPF_OBJ_GET_INFO_BY_FD, called once for the length and once for the instructions.
    func dump(_ program: borrowing Descriptor) throws(Failure) -> [BPFInstruction] {
        let size = MemoryLayout<bpf_insn>.size
        let length = Int(try information(program, into: nil).xlated_prog_len)
        guard length > 0, length % size == 0, length / size <= DeviceProgram.lengthLimit else { return [] }
        let raw = UnsafeMutableBufferPointer<bpf_insn>.allocate(capacity: length / size)
        defer { raw.deallocate() }
        raw.initialize(repeating: bpf_insn())
        let information = try information(program, into: UnsafeMutableRawBufferPointer(raw))
        // If the kernel hides the instructions, it clears the address and does not write to the buffer.
        guard information.xlated_prog_insns != 0, Int(information.xlated_prog_len) == length else { return [] }
        return raw.map(BPFInstruction.init)
    }

    private func information(
        _ program: borrowing Descriptor,
        into buffer: UnsafeMutableRawBufferPointer?
    ) throws(Failure) -> bpf_prog_info {
        let information = UnsafeMutablePointer<bpf_prog_info>.allocate(capacity: 1)
        defer { information.deallocate() }
        information.initialize(to: bpf_prog_info())
        if let buffer {
            information.pointee.xlated_prog_insns = Self.address(buffer.baseAddress)
            information.pointee.xlated_prog_len = UInt32(buffer.count)
        }
        var attributes = bpf_attr()
        attributes.info.bpf_fd = UInt32(bitPattern: program.number)
        attributes.info.info_len = UInt32(MemoryLayout<bpf_prog_info>.size)
        attributes.info.info = Self.address(information)
        try Self.call(
            BPF_OBJ_GET_INFO_BY_FD,
            "bpf BPF_OBJ_GET_INFO_BY_FD",
            "cannot read a device filter",
            &attributes
        )
        return information.pointee
    }

    /// BPF_PROG_LOAD; if the verifier refuses the program, a second call asks for its log.
    func load(_ instructions: [BPFInstruction]) throws(Failure) -> Descriptor {
        do {
            return try load(instructions, log: nil)
        } catch {
            // Before Linux 5.11, BPF programs count as locked memory, and exceeding RLIMIT_MEMLOCK gives EPERM.
            if error.code == EPERM, Self.raiseLockedMemory(), let program = try? load(instructions, log: nil) {
                return program
            }
            let log = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 1)
            defer { log.deallocate() }
            log.initializeMemory(as: UInt8.self, repeating: 0)
            do {
                return try load(instructions, log: log)
            } catch {
                guard let reason = Self.reason(inLog: String(decoding: log.prefix { $0 != 0 }, as: UTF8.self)) else {
                    throw error
                }
                throw Failure(error.what, because: "\(error.why): \(reason)")
            }
        }
    }

    private func load(
        _ instructions: [BPFInstruction],
        log: UnsafeMutableRawBufferPointer?
    ) throws(Failure) -> Descriptor {
        let raw = UnsafeMutableBufferPointer<bpf_insn>.allocate(capacity: instructions.count)
        defer { raw.deallocate() }
        _ = raw.initialize(from: instructions.map(\.raw))
        let licence: StaticString = "GPL"
        var attributes = bpf_attr()
        attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE.rawValue
        attributes.insns = Self.address(raw.baseAddress)
        attributes.insn_cnt = UInt32(raw.count)
        attributes.license = Self.address(licence.utf8Start)
        if let log {
            attributes.log_level = 1
            attributes.log_buf = Self.address(log.baseAddress)
            attributes.log_size = UInt32(log.count)
        }
        return Descriptor(
            owning: try Self.call(BPF_PROG_LOAD, "bpf BPF_PROG_LOAD", "cannot load a device filter", &attributes)
        )
    }

    /// BPF_PROG_ATTACH, with BPF_F_REPLACE if a program is to be replaced.
    func attach(_ program: CInt, to cgroup: CInt, flags: UInt32, replacing old: CInt?) throws(Failure) {
        var attributes = bpf_attr()
        attributes.target_fd = UInt32(bitPattern: cgroup)
        attributes.attach_type = BPF_CGROUP_DEVICE.rawValue
        attributes.attach_bpf_fd = UInt32(bitPattern: program)
        attributes.attach_flags = flags
        if let old {
            attributes.attach_flags |= BPF_F_REPLACE
            attributes.replace_bpf_fd = UInt32(bitPattern: old)
        }
        try Self.call(BPF_PROG_ATTACH, "bpf BPF_PROG_ATTACH", "cannot attach a device filter", &attributes)
    }
}

extension KernelBPF {
    /// Returns the last line of a verifier's log before the statistics, cut to 200 characters; nil if there is none.
    static func reason(inLog log: String) -> String? {
        let statistics = ["processed ", "verification time"]
        let lines = log.split(separator: "\n")
        return lines.last { line in !statistics.contains { line.hasPrefix($0) } }.map { String($0.prefix(200)) }
    }

    private static func address(_ pointer: UnsafeRawPointer?) -> UInt64 {
        UInt64(UInt(bitPattern: pointer))
    }

    @discardableResult
    private static func call(
        _ command: bpf_cmd,
        _ name: String,
        _ what: String,
        _ attributes: inout bpf_attr
    ) throws(Failure) -> CInt {
        // EAGAIN: a signal interrupted the verifier (bpf(2)).
        var tries = 0
        while true {
            do {
                return try systemCall(name, what) {
                    clinux_bpf(CInt(command.rawValue), &attributes, UInt32(MemoryLayout<bpf_attr>.size))
                }
            } catch let error where error.code == EAGAIN && tries < 16 {
                tries += 1
            }
        }
    }

    /// Removes the limit of locked memory; returns false if setrlimit(2) fails.
    private static func raiseLockedMemory() -> Bool {
        var limit = rlimit(rlim_cur: rlim_t.max, rlim_max: rlim_t.max)
        return setrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0
    }
}
