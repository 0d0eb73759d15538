import CLinux
import Glibc
import OCIHook
import Platform
import TestSupport
import VTPMProxy

/// Has the hook place nodes again and again while racers change the tree under it.
///
/// After each time the racers are halted, in the state that they began with. Then the host must be as it was, and the
/// container refused, or its two nodes must be where they belong.
struct Race: ~Copyable {
    private let root: String
    private let container: ProcessHandle
    private let privateMountPoint: String
    private let victim: String
    private var generator: SeededGenerator
    private let racers: [RacerProcess]
    private var outcomes: [String: Int] = [:]

    init(
        program: String,
        root: String,
        container: pid_t,
        privateMountPoint: String,
        victim: String,
        seed: UInt64
    ) throws(Failure) {
        let process = try ProcessHandle(container)
        let enter = ["nsenter", "--target", "\(container)", "--mount"]
        let racers = [
            try RacerProcess(program, [program, "swap-dev", "\(root)/.."]),
            try RacerProcess("/usr/bin/nsenter", enter + [program, "swap-nodes", root, victim]),
        ]
        self.root = root
        self.container = process
        self.privateMountPoint = privateMountPoint
        self.victim = victim
        self.generator = SeededGenerator(seed: seed)
        self.racers = racers
    }

    mutating func run(rounds: Int) throws(Failure) {
        let before = try host()
        for round in 0..<rounds {
            // Both at once leave the hook few chances; so often it is one.
            let chosen: [RacerProcess]
            switch Int.random(in: 0..<5, using: &generator) {
            case 0: chosen = racers
            case 1, 2: chosen = [racers[0]]
            default: chosen = [racers[1]]
            }
            for racer in chosen { try racer.go(seed: generator.next()) }
            Racer.linger(&generator)
            let outcome = try play(chosen)
            outcomes[outcome, default: 0] += 1
            let after = try host()
            guard after == before else {
                let changes = after.filter { !before.contains($0) } + before.filter { !after.contains($0) }
                throw Failure("cannot accept round \(round), \(outcome)", because: "the host changed: \(changes)")
            }
            try cleanContainer()
        }
        for (outcome, count) in outcomes.sorted(by: { $0.value > $1.value }) { print("\(count) times \(outcome)") }
        print("raced \(rounds) rounds, placed \(outcomes["placed"] ?? 0)")
    }

    /// One creation's part; says how it ended.
    private func play(_ racers: [RacerProcess]) throws(Failure) -> String {
        var isRight: Result<Void, Failure>?
        let end = Failure("cannot go on", because: "the round is over")
        do throws(Failure) {
            try Placement.place(
                devices,
                owner: DeviceOwner(uid: 0, gid: 0, mode: 0o600),
                in: container,
                rootPath: root,
                privateMountPoint: privateMountPoint
            ) { (_, _) throws(Failure) in
                for racer in racers { try racer.halt() }
                do throws(Failure) { isRight = .success(try checkContainer()) } catch { isRight = .failure(error) }
                throw end
            }
        } catch {
            if let isRight {
                try isRight.get()
                return "placed"
            }
            for racer in racers { try racer.halt() }
            return "refused: \(error.why)"
        }
        return "placed"
    }

    /// Both nodes are in the container, and nothing else has come with them.
    private func checkContainer() throws(Failure) {
        try excursion { () throws(Failure) in
            let names = try entries(of: Descriptor.open("\(root)/dev", .directory), "dev").sorted()
            guard names == ["tpm0", "tpmrm0"] else {
                throw Failure("cannot accept the container", because: "its /dev has \(names)")
            }
            for (name, device) in [("tpm0", devices.tpm), ("tpmrm0", devices.tpmrm)] {
                let path = "\(root)/dev/\(name)"
                // Opening tells that it is no node on a mount with nodev.
                let node = try Descriptor.open(path, OpenOptions(O_RDWR | O_NOFOLLOW))
                let status = try node.status(path)
                guard status.st_mode & S_IFMT == S_IFCHR, status.st_rdev == device.raw else {
                    throw Failure("cannot accept the container", because: "\(name) is another device")
                }
            }
        }
    }

    /// Removes what racers and hook have left to each other in the container's `/dev`.
    private func cleanContainer() throws(Failure) {
        try excursion { () throws(Failure) in
            let dev = try Descriptor.open("\(root)/dev", .directory)
            for name in try entries(of: dev, "dev") {
                let path = "\(root)/dev/\(name)"
                while umount2(path, CInt(MNT_DETACH | UMOUNT_NOFOLLOW)) == 0 {}
                try systemCall("unlink", "cannot remove \(path)") { unlink(path) == 0 ? 0 : rmdir(path) }
            }
        }
    }

    private func excursion(_ body: () throws(Failure) -> Void) throws(Failure) {
        let host = try Descriptor.open("/proc/self/ns/mnt", .read)
        let number = container.descriptor.number
        try systemCall("setns", "cannot enter the container") { setns(number, clinux_clone_newns) }
        let result: Result<Void, Failure>
        do throws(Failure) { result = .success(try body()) } catch { result = .failure(error) }
        let back = host.number
        try systemCall("setns", "cannot return") { setns(back, clinux_clone_newns) }
        try result.get()
    }

    /// All that the hook could have changed on the host: trees and mounts.
    private func host() throws(Failure) -> [String] {
        let mounts = try Descriptor.open("/proc/self/mountinfo", .read).readAll(limit: 1 << 20, "mountinfo")
        var lines: [String] = []
        for path in [root, victim, privateMountPoint] { try describe(path, isRoot: path == root, into: &lines) }
        return lines + mounts.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The times of the root filesystem itself change with what the racers do.
    private func describe(_ path: String, isRoot: Bool, into lines: inout [String]) throws(Failure) {
        var status = stat()
        try systemCall("lstat", "cannot examine \(path)") { lstat(path, &status) }
        let time = isRoot ? 0 : status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec
        lines.append(
            "\(path) \(String(status.st_mode, radix: 8)) \(status.st_ino) \(status.st_rdev) \(status.st_size) \(time)"
        )
        guard status.st_mode & S_IFMT == S_IFDIR else { return }
        for name in try entries(of: Descriptor.open(path, .directory), path).sorted() {
            try describe("\(path)/\(name)", isRoot: false, into: &lines)
        }
    }
}

/// A racer, from outside.
final class RacerProcess {
    private let child: ChildProcess
    private let orders: CInt
    private let answers: CInt

    /// Starts it; it ends when this process does.
    init(_ path: String, _ arguments: [String]) throws(Failure) {
        var orders: [CInt] = [-1, -1]
        var answers: [CInt] = [-1, -1]
        try systemCall("pipe2", "cannot make a pipe") { pipe2(&orders, O_CLOEXEC) }
        try systemCall("pipe2", "cannot make a pipe") { pipe2(&answers, O_CLOEXEC) }
        var launch = ProgramLaunch(path, arguments)
        launch.passed = [orders[0], answers[1]]
        child = try launch.start()
        close(orders[0])
        close(answers[1])
        self.orders = orders[1]
        self.answers = answers[0]
        try awaitAnswer()
    }

    func go(seed: UInt64) throws(Failure) {
        var order = [UInt8(ascii: "g")]
        withUnsafeBytes(of: seed.bigEndian) { order.append(contentsOf: $0) }
        try systemCall("write", "cannot start a racer") { write(orders, order, order.count) }
    }

    func halt() throws(Failure) {
        var byte = UInt8(ascii: "s")
        try systemCall("write", "cannot halt a racer") { write(orders, &byte, 1) }
        try awaitAnswer()
    }

    private func awaitAnswer() throws(Failure) {
        var byte: UInt8 = 0
        let count = try systemCall("read", "cannot hear a racer") { read(answers, &byte, 1) }
        guard count == 1 else { throw Failure("cannot hear a racer", because: "it ended") }
    }
}
