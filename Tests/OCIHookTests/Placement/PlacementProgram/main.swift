import Glibc
import OCIHook
import Platform
import VTPMProxy

// The hook's program as far as the nodes in a container's /dev are concerned, and those who try to lead it astray.
// /dev/null and /dev/full stand in for the two devices of a TPM.

let arguments = CommandLine.arguments
let devices = RegisteredTPM(
    number: 0,
    tpm: DeviceNumber(major: 1, minor: 3),
    tpmrm: DeviceNumber(major: 1, minor: 7)
)

func argument(_ index: Int) -> String {
    guard arguments.indices.contains(index) else { exit(64) }
    return arguments[index]
}

func number<Number: FixedWidthInteger>(_ index: Int, radix: Int = 10) -> Number {
    guard let number = Number(argument(index), radix: radix) else { exit(64) }
    return number
}

do throws(Failure) {
    umask(0o077)
    switch argument(1) {
    case "examine":
        let group = arguments.count > 4 ? argument(4) : nil
        let id = try Placement.examine(ProcessHandle(number(3)), rootPath: argument(2), group: group)
        print("examined", id.map(String.init) ?? "")
    case "place":
        let container = try ProcessHandle(number(3))
        try Placement.examine(container, rootPath: argument(2))
        try Placement.place(
            devices,
            owner: DeviceOwner(uid: number(5), gid: number(6), mode: number(7, radix: 8)),
            label: getenv("LABEL").map { String(cString: $0) },
            in: container,
            rootPath: argument(2),
            privateMountPoint: argument(4)
        ) { (_, _) throws(Failure) in
            guard arguments.count == 8 else { throw Failure("cannot go on", because: "the test said so") }
        }
        print("placed")
    case "race":
        var race = try Race(
            program: argument(0),
            root: argument(2),
            container: number(3),
            privateMountPoint: argument(4),
            victim: argument(5),
            seed: number(6)
        )
        try race.run(rounds: number(7))
    case "swap-dev": Racer.run(in: argument(2)) { DevRacer(directory: $0, $1) }
    case "swap-nodes": Racer.run(in: argument(2) + "/dev") { NodeRacer(directory: $0, victim: argument(3), $1) }
    default: exit(64)
    }
} catch {
    print("refused:", error)
    exit(1)
}
