import Glibc
import Platform

/// The least that takes a command which another process has to write a file for, before it is answered.
///
/// Two processes with nothing of a supervisor or a worker in them: one hands each command's state on, the other writes it,
/// unencrypted, as ``DiskFloor`` does. No TPM executes anything.
final class BareProcesses {
    /// What tells the program that it is one of them.
    static let arguments = (relay: "bare-relay", keeper: "bare-keeper")

    /// As large as a state.
    private static let state = [UInt8](repeating: 0x5a, count: 1500)

    let device: Device
    private let relay: RunningProgram
    private let keeper: RunningProgram
    private var hasBeenReaped = false

    /// Starts both; the file has slots of so many bytes.
    init(in directory: String, slot: Int) throws(Failure) {
        let ends = try Device.pair()
        let between = try Device.pair()
        var launch = ProgramLaunch("/proc/self/exe", ["vtpm-bench", Self.arguments.keeper, directory, "\(slot)"])
        launch.passed = [between.far.number]
        keeper = try RunningProgram(launch)
        launch = ProgramLaunch("/proc/self/exe", ["vtpm-bench", Self.arguments.relay])
        launch.passed = [ends.far.number, between.near.number]
        relay = try RunningProgram(launch)
        device = Device(owning: ends.near)
    }

    deinit {
        guard !hasBeenReaped else { return }
        relay.kill()
        keeper.kill()
        _ = try? relay.wait()
        _ = try? keeper.wait()
    }

    /// Ends both, one after the other, as each sees that nobody is at the other end.
    func stop() throws(Failure) {
        device.hangUp()
        hasBeenReaped = true
        guard try relay.wait() == .exited(0), try keeper.wait() == .exited(0) else {
            throw Failure("cannot stop the bare processes", because: "one failed")
        }
    }

    /// The process that commands come to, as descriptor 3; the other one is at 4.
    static func runRelay() throws(Failure) {
        let success: [UInt8] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0]
        var command = [UInt8](repeating: 0, count: 4096)
        var acknowledgement: UInt8 = 0
        while try call({ read(3, &command, command.count) }) > 0 {
            try call { write(4, state, state.count) }
            try call { read(4, &acknowledgement, 1) }
            try call { write(3, success, success.count) }
        }
    }

    /// The process that writes what comes as descriptor 3.
    static func runKeeper(in directory: String, slot: Int) throws(Failure) {
        var floor = try DiskFloor("bare", in: directory, slot: slot)
        var contents = [UInt8](repeating: 0, count: state.count)
        while try call({ read(3, &contents, contents.count) }) > 0 {
            try floor.write()
            try call { write(3, [1], 1) }
        }
    }

    @discardableResult
    private static func call(_ body: () -> Int) throws(Failure) -> Int {
        try systemCall("read or write", "cannot go on as a bare process", body)
    }
}
