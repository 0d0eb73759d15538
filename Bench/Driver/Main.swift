import Glibc
import Platform

/// `vtpm-bench`: measures this project and swtpm in the same way, and writes what it measured as lines of JSON.
///
/// `Bench/run` calls it.
@main
struct Main {
    static func main() {
        do throws(Failure) {
            try run(Array(CommandLine.arguments.dropFirst()))
        } catch {
            Output.say("\(error)")
            exit(1)
        }
    }

    private static func run(_ arguments: [String]) throws(Failure) {
        switch arguments.first {
        case "native" where arguments.count >= 8:
            // One descriptor for each of 500 devices, and one for each channel.
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            limit.rlim_cur = limit.rlim_max
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            func place(_ directory: String) -> Place {
                Place(programs: arguments[1], programsBefore: arguments[2], directory: directory)
            }
            try Native(
                disk: place(arguments[4]),
                memory: place(arguments[5]),
                counted: place(arguments[6]),
                fixtures: arguments[3],
                scale: Int(arguments[7]) ?? 1,
                only: Set(arguments[8...])
            ).run()
        case BareProcesses.arguments.relay where arguments.count == 1:
            try BareProcesses.runRelay()
        case BareProcesses.arguments.keeper where arguments.count == 3:
            try BareProcesses.runKeeper(in: arguments[1], slot: Int(arguments[2]) ?? 0)
        case "by-hand" where arguments.count >= 3:
            try ByHand(folder: arguments[1], server: Array(arguments[2...])).run()
        case "devices" where arguments.count >= 3:
            try Guest.devices(Array(arguments[2...]), rounds: Int(arguments[1]) ?? 1)
        case "memory" where arguments.count >= 4:
            try Guest.memory(arguments[1], Int(arguments[2]) ?? 1, arguments[3...].compactMap { pid_t($0) })
        default:
            throw Failure(
                "cannot measure",
                because: "\"\(arguments.joined(separator: " "))\" is no measurement",
                hint: "Bench/run"
            )
        }
    }
}
