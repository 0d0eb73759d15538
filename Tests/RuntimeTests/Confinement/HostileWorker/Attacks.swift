import CLinux
import CSystemCall
import Glibc
import RuntimeControl

/// What a worker does that its tenant has taken over.
struct Attack {
    let name: String
    /// What the supervisor has to say of it; what it says of a forbidden system call where nothing else is named.
    let reason: String
    let run: @Sendable () -> Void

    init(
        _ name: String,
        reason: String = "its worker ended with signal \(SIGSYS)",
        _ run: @escaping @Sendable () -> Void
    ) {
        self.name = name
        self.reason = reason
        self.run = run
    }

    /// A system call with these arguments.
    init(_ name: String, call number: CInt, _ arguments: Int...) {
        let padded = arguments + [0, 0, 0, 0, 0, 0]
        self.init(name) {
            _ = csystemcall(Int(number), padded[0], padded[1], padded[2], padded[3], padded[4], padded[5])
        }
    }

    /// A system call on a path.
    init(_ name: String, call number: CInt, at path: String, _ arguments: Int...) {
        let padded = arguments + [0, 0, 0, 0]
        self.init(name) {
            _ = path.withCString {
                csystemcall(Int(number), Int(AT_FDCWD), Int(bitPattern: $0), padded[0], padded[1], padded[2], 0)
            }
        }
    }

    /// The channel to the supervisor.
    private static let channel: CInt = 3

    /// Each of these must be the worker's end at once.
    static let deadly: [Attack] = [
        Attack("opens a file to write", call: SYS_openat, at: "/etc/passwd", Int(O_WRONLY)),
        Attack("opens the supervisor's memory", call: SYS_openat, at: "/proc/1/mem", Int(O_RDWR)),
        Attack("creates a file", call: SYS_openat, at: "/tmp/hostile", Int(O_CREAT | O_WRONLY)),
        Attack("removes a file", call: SYS_unlinkat, at: "/etc/passwd"),
        Attack("connects over the network", call: SYS_socket, Int(AF_INET), 1),
        Attack("connects to a local socket", call: SYS_socket, Int(AF_UNIX), 1),
        Attack("asks the kernel over netlink", call: SYS_socket, Int(AF_NETLINK), 3),
        Attack("forks", call: SYS_clone, Int(SIGCHLD)),
        Attack("forks with clone3", call: SYS_clone3, 0, 0),
        Attack("starts a thread", call: SYS_clone, 0x10f00),
        Attack("executes a program", call: SYS_execve, 0, 0, 0),
        Attack("traces another process", call: SYS_ptrace, 16, Int(getppid())),
        Attack("reads another process's memory", call: SYS_process_vm_readv, 1, 0, 0, 0, 0),
        Attack("takes another process's descriptor", call: SYS_pidfd_getfd, 4, 0, 0),
        Attack("signals the container's init", call: SYS_pidfd_send_signal, 4, Int(SIGKILL)),
        Attack("signals everybody", call: SYS_kill, -1, Int(SIGKILL)),
        Attack("maps executable memory", call: SYS_mmap, 0, 4096, 5, 0x22, -1, 0),
        Attack("maps memory that is writable and executable", call: SYS_mmap, 0, 4096, 7, 0x22, -1, 0),
        Attack("maps a descriptor", call: SYS_mmap, 0, 4096, 1, 0x02, 3, 0),
        Attack("maps shared memory", call: SYS_mmap, 0, 4096, 3, 0x21, -1, 0),
        Attack("maps memory that grows", call: SYS_mmap, 0, 4096, 3, 0x122, -1, 0),
        Attack("offers memory to others", call: SYS_madvise, 0, 4096, 12),
        Attack("makes memory executable", call: SYS_mprotect, 0, 4096, 5),
        Attack("makes a file in memory", call: SYS_memfd_create, 0, 0),
        Attack("mounts", call: SYS_mount, 0, 0, 0, 0, 0),
        Attack("makes a user namespace", call: SYS_unshare, 0x1000_0000),
        Attack("enters another namespace", call: SYS_setns, 4, 0),
        Attack("becomes root", call: SYS_setuid, 0),
        Attack("takes capabilities back", call: SYS_capset, 0, 0),
        Attack("changes the personality", call: SYS_personality, 0x040_0000),
        Attack("loads a BPF program", call: SYS_bpf, 5, 0, 0),
        Attack("uses io_uring", call: SYS_io_uring_setup, 8, 0),
        Attack("uses the kernel's keys", call: SYS_keyctl, 0, -3),
        Attack("uses userfaultfd", call: SYS_userfaultfd, 0),
        Attack("counts performance events", call: SYS_perf_event_open, 0, 0, -1, -1, 0),
        // VTPM_PROXY_IOC_NEW_DEV; TIOCSTI.
        Attack("makes a device", call: SYS_ioctl, 5, 0xc014_a100),
        Attack("types into a terminal", call: SYS_ioctl, 1, 0x5412),
        // Whether there is a new limit is all that the filter can see.
        Attack("raises its limits", call: SYS_prlimit64, 0, 7, 1 << 20, 0),
        Attack("returns from a signal that never came", call: SYS_rt_sigreturn),
        Attack("aborts") { abort() },
    ]

    /// Each of these makes the supervisor end the worker, which waits for that.
    static let protocolViolations: [Attack] = [
        violation("stores a state without end", "the worker sent more than \(WorkerReply.stateLimit) bytes") {
            let chunk = [UInt8](repeating: 0x55, count: Channel.chunkSize)
            for _ in 0..<64 { tell(WorkerReply.Kind.state.rawValue, chunk) }
        },
        violation("speaks out of turn", "its worker sent message \(WorkerReply.Kind.confined.rawValue) out of turn") {
            tell(WorkerReply.Kind.confined.rawValue, [])
        },
        violation("is ready again", "its worker sent message \(WorkerReply.Kind.ready.rawValue) out of turn") {
            tell(WorkerReply.Kind.ready.rawValue, [0, 0, 0, 0, 1, 0, 0, 0, 0])
        },
        violation("opens its TPM", "its worker sent message \(WorkerReply.Kind.open.rawValue) out of turn") {
            tell(WorkerReply.Kind.open.rawValue, [])
        },
        violation(
            "answers what nobody asks",
            "its worker sent message \(WorkerReply.Kind.response.rawValue) out of turn"
        ) {
            tell(WorkerReply.Kind.response.rawValue, [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0])
        },
        violation("says something unknown", "its worker sent message 255 out of turn") { tell(0xff, [1, 2, 3]) },
        violation("sends more than a message may have", "a message is longer than any that it may send") {
            tell(WorkerReply.Kind.state.rawValue, [UInt8](repeating: 0, count: 100_000))
        },
        violation("sends a message without a kind", "its worker ended with signal \(SIGKILL)") { transmit([]) },
        violation("sends descriptors", "its worker sent message 255 out of turn") {
            tell(0xff, [], descriptors: [channel, channel, channel, channel])
        },
        violation("sends more descriptors than a message may have", "a message is longer than any that it may send") {
            tell(0xff, [], descriptors: [CInt](repeating: channel, count: 64))
        },
        violation("says at length that it failed", "cannot serve: AAAA") {
            let words = Array("cannot serve: ".utf8) + [UInt8](repeating: 65, count: 32_000)
            tell(WorkerReply.Kind.failure.rawValue, words)
        },
        violation("says that it failed in bytes that are no text", "cannot keep the vTPM: \u{fffd}\u{fffd}") {
            tell(WorkerReply.Kind.failure.rawValue, [UInt8](repeating: 0xff, count: 32_000))
        },
        violation("says that it failed in one character", "cannot keep the vTPM: e\u{301}\u{301}") {
            tell(WorkerReply.Kind.failure.rawValue, Array(("e" + String(repeating: "\u{301}", count: 16_000)).utf8))
        },
        violation("says that it failed in lines", "cannot keep the vTPM: one?two?") {
            tell(WorkerReply.Kind.failure.rawValue, Array("one\ntwo\u{1b}".utf8))
        },
        violation("stores a state of a TPM that it has said has failed", "cannot serve: a lie") {
            tell(WorkerReply.Kind.failed.rawValue, Array("cannot serve: a lie".utf8))
            tell(WorkerReply.Kind.state.rawValue, [0x55])
        },
        violation("hangs up", "its worker ended with signal \(SIGKILL)") { close(channel) },
    ]

    private static func violation(_ name: String, _ reason: String, _ run: @escaping @Sendable () -> Void) -> Attack {
        Attack(name, reason: reason) {
            run()
            while true { poll(nil, 0, -1) }
        }
    }

    /// Each of these is not worth an answer, and harms nobody else.
    static let resourceExhaustion: [Attack] = [
        Attack("takes all the memory that it can get") {
            var blocks: [UnsafeMutableRawPointer] = []
            blocks.reserveCapacity(1024)
            while blocks.count < 1024, let block = malloc(1 << 20) {
                memset(block, 1, 1 << 20)
                blocks.append(block)
            }
            for block in blocks { free(block) }
        }
    ]

    /// Never returns.
    static let spin = Attack("does nothing, for ever") { while true { poll(nil, 0, -1) } }

    static func tell(_ kind: UInt8, _ body: [UInt8], descriptors: [CInt] = []) {
        transmit([kind] + body, descriptors)
    }

    /// By sendmsg(2): the filter ends a worker for send(2), which is the system call sendto.
    private static func transmit(_ message: [UInt8], _ descriptors: [CInt] = []) {
        var message = message
        let size = MemoryLayout<CInt>.stride * descriptors.count
        var control = [UInt8](repeating: 0, count: clinux_cmsg_space(size))
        message.withUnsafeMutableBytes { bytes in
            control.withUnsafeMutableBytes { control in
                var part = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                withUnsafeMutablePointer(to: &part) { part in
                    var header = msghdr()
                    header.msg_iov = part
                    header.msg_iovlen = 1
                    if !descriptors.isEmpty {
                        header.msg_control = control.baseAddress
                        header.msg_controllen = control.count
                        if let first = clinux_cmsg_firsthdr(&header) {
                            first.pointee.cmsg_level = SOL_SOCKET
                            first.pointee.cmsg_type = CInt(SCM_RIGHTS)
                            first.pointee.cmsg_len = clinux_cmsg_len(size)
                            descriptors.withUnsafeBytes {
                                if let source = $0.baseAddress { memcpy(clinux_cmsg_data(first), source, size) }
                            }
                        }
                    }
                    _ = sendmsg(channel, &header, CInt(MSG_NOSIGNAL))
                }
            }
        }
    }
}
