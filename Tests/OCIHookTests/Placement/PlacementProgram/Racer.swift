import CLinux
import Glibc
import Platform
import TestSupport

/// A process that changes a tree under the hook.
protocol Racing {
    /// One attempt: something is put in the way and taken away again, so that it ends as it began.
    mutating func attempt()
}

/// What drives a ``Racing`` process: `g` on descriptor 3 starts it, with eight bytes of a seed; `s` stops it, and it
/// answers on descriptor 4, as it does when it is ready.
enum Racer {
    /// The directory that is raced for is opened before any racer starts: later its path may lead elsewhere.
    static func run<Racing: PlacementProgram.Racing>(in path: String, _ make: (CInt, SeededGenerator) -> Racing) {
        let directory = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard directory >= 0 else { exit(65) }
        var ready = UInt8(ascii: "r")
        _ = Glibc.write(4, &ready, 1)
        while let order = read(), order == UInt8(ascii: "g") {
            var seed: UInt64 = 0
            for _ in 0..<8 { seed = seed << 8 | UInt64(read() ?? 0) }
            var racing = make(directory, SeededGenerator(seed: seed))
            while !hasOrder() { racing.attempt() }
            guard read() == UInt8(ascii: "s") else { break }
            var answer = UInt8(ascii: "a")
            _ = Glibc.write(4, &answer, 1)
        }
    }

    private static func read() -> UInt8? {
        var byte: UInt8 = 0
        return Glibc.read(3, &byte, 1) == 1 ? byte : nil
    }

    private static func hasOrder() -> Bool {
        var order = pollfd(fd: 3, events: Int16(POLLIN), revents: 0)
        return poll(&order, 1, 0) != 0
    }

    /// Spends some time, from nothing to a few thousand loops: a call's length or several.
    static func linger(_ generator: inout SeededGenerator) {
        let factor = generator.next()
        var sum: UInt64 = 0
        for turn in 0..<UInt64.random(in: 0...4000, using: &generator) { sum &+= turn &* factor }
        if sum == 1 { sched_yield() }
    }
}

/// On the host, for whom the root filesystem and `/dev` in it are directories like others: exchanges them with traps.
struct DevRacer: Racing {
    private let directory: CInt
    private var generator: SeededGenerator
    private let exchanges = [
        ("rootfs/dev", "rootfs/trap-link"), ("rootfs/dev", "rootfs/trap-magic"),
        ("rootfs/dev", "rootfs/trap-directory"), ("rootfs/dev", "rootfs/trap-pipe"), ("rootfs", "trap-root"),
    ]

    init(directory: CInt, _ generator: SeededGenerator) {
        self.directory = directory
        self.generator = generator
    }

    mutating func attempt() {
        let exchange: CUnsignedInt = 2  // RENAME_EXCHANGE, linux/fs.h
        let (name, trap) = exchanges[Int.random(in: 0..<exchanges.count, using: &generator)]
        guard renameat2(directory, trap, directory, name, exchange) == 0 else { return }
        Racer.linger(&generator)
        _ = renameat2(directory, trap, directory, name, exchange)
        Racer.linger(&generator)
    }
}

/// In the container's mount namespace: puts traps where the nodes go.
struct NodeRacer: Racing {
    private let directory: CInt
    private let victim: String
    private var generator: SeededGenerator

    init(directory: CInt, victim: String, _ generator: SeededGenerator) {
        self.directory = directory
        self.victim = victim
        self.generator = generator
    }

    mutating func attempt() {
        let (directory, victim) = (directory, victim)
        let name = Bool.random(using: &generator) ? "tpm0" : "tpmrm0"
        switch Int.random(in: 0..<12, using: &generator) {
        case 0: put(name) { symlinkat("\(victim)/\(name)", directory, name) }
        case 1: put(name) { symlinkat("/proc/self/root\(victim)/\(name)", directory, name) }
        case 2: put(name) { mkfifoat(directory, name, 0o600) }
        case 3: put(name, AT_REMOVEDIR) { mkdirat(directory, name, 0o700) }
        case 4: put(name) { mknodat(directory, name, S_IFCHR | 0o600, clinux_makedev(1, name == "tpm0" ? 3 : 7)) }
        case 5: put(name) { close(openat(directory, name, O_RDWR | O_CREAT | O_EXCL, 0o600)) }
        default: lurk(name)
        }
        Racer.linger(&generator)
    }

    private mutating func put(_ name: String, _ flags: CInt = 0, _ make: () -> CInt) {
        guard make() == 0 else { return }
        Racer.linger(&generator)
        _ = unlinkat(directory, name, flags)
    }

    /// Waits for the hook's empty file, and takes its place before something is mounted on it.
    private mutating func lurk(_ name: String) {
        for _ in 0..<400 where renameat2(directory, name, directory, "\(name).away", 0) == 0 {
            switch Int.random(in: 0..<3, using: &generator) {
            case 0: _ = symlinkat("\(victim)/\(name)", directory, name)
            case 1: _ = mknodat(directory, name, S_IFCHR | 0o600, clinux_makedev(1, name == "tpm0" ? 3 : 7))
            default: break
            }
            Racer.linger(&generator)
            _ = unlinkat(directory, name, 0)
            _ = renameat2(directory, "\(name).away", directory, name, 0)
            return
        }
    }
}
